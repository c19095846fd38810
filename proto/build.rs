//! Generates the Rust of both protocols with protox, so that no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=bonk");
    println!("cargo:rerun-if-changed=runtime");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let bonk = protox::compile(["bonk/v1/bonk.proto"], ["."])?;
    tonic_prost_build::configure()
        .btree_map(".bonk.v1")
        .codec_path("crate::codec::SmallCodec")
        .file_descriptor_set_path(out.join("bonk.bin"))
        .compile_fds(bonk.clone())?;
    std::fs::write(out.join("bonk.bin"), prost::Message::encode_to_vec(&bonk))?;

    let cri = protox::compile(["runtime/v1/api.proto"], ["."])?;
    // Its servers are mocks, of the calls that a test makes.
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .compile_fds(cri)?;
    Ok(())
}
