//! The two protocols this project speaks, generated at build time.

mod codec;

/// `bonk.v1`: what a bonker serves. Defined in `bonk/v1/bonk.proto`.
pub mod bonk {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        reason = "generated; documented in bonk.proto"
    )]
    tonic::include_proto!("bonk.v1");

    /// The encoded `FileDescriptorSet` of `bonk.v1`, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("bonk");
}

/// `runtime.v1`: the part of the Container Runtime Interface this project calls.
pub mod cri {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        reason = "generated; documented by k8s.io/cri-api"
    )]
    tonic::include_proto!("runtime.v1");
}

/// The codec of CRI calls that are not among the generated ones: of other versions of it.
pub fn cri_codec<T, U>() -> impl tonic::codec::Codec<Encode = T, Decode = U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + Default + Send + 'static,
{
    tonic_prost::ProstCodec::default()
}
