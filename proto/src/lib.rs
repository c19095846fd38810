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
