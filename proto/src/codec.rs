//! Prost's codec with buffers that fit `bonk.v1`.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Bytes that each open stream keeps for reading, and again for writing: a bonk with its
/// sentence. They grow for more. Tonic's own 8 KiB are most of what a quiet stream costs.
const BUFFER_BYTES: usize = 512;

/// Tonic's own: as much is encoded before it is handed on.
const YIELD_BYTES: usize = 32 * 1024;

/// Encodes `T`, decodes `U`.
#[derive(Clone, Debug)]
pub(crate) struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
}
