//! `cargo xtask image`: the agent as a container image FROM scratch, in an
//! archive that runtimes import; no registry, no daemon.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::binaries::StaticBinaries;
use crate::toolchain::Choice;
use crate::{build_ebpf, dist, say};
pub(crate) use archive::{File, Image, architecture};

/// What `daemonset.yaml` asks for. `localhost` is nobody's registry: where the
/// image was not imported, none of a stranger's is pulled in its place.
pub const NAME: &str = concat!("localhost/oom-bonker/oom-agent:", env!("CARGO_PKG_VERSION"));

/// Where it lies in the image.
const ENTRYPOINT: &str = "/oom-agent";

/// Flags of the command.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Pack the agent as the tests build it: in a fraction of the time, and slower
    #[arg(long)]
    pub debug: bool,
    /// Where to [default: dist/oom-agent-VERSION-ARCHITECTURE.tar]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Install what is missing without asking.
    #[arg(long)]
    pub yes: bool,
    /// Which compiler to take for the eBPF object.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolchain: Choice,
}

/// Builds the agent, packs it, and tells what to do with it.
pub fn main(args: Args) -> Result<()> {
    let build = build_ebpf::Args {
        yes: args.yes,
        toolchain: args.toolchain,
    };
    let agent = if args.debug {
        build_ebpf::main(build)?;
        StaticBinaries::build()?.agent
    } else {
        dist::host(build)?;
        dist::dir().join("oom-agent")
    };
    let out = args.out.unwrap_or_else(|| {
        let version = env!("CARGO_PKG_VERSION");
        dist::dir().join(format!("oom-agent-{version}-{}.tar", architecture()))
    });
    if let Some(dir) = out.parent() {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    pack(&agent, &out)?;
    say::line(format_args!(
        "{}: {NAME}\nimport it on every node: ctr --namespace k8s.io images import {}",
        out.display(),
        out.display()
    ));
    Ok(())
}

/// Packs a static agent.
pub fn pack(agent: &Path, out: &Path) -> Result<()> {
    let program = fs::read(agent).with_context(|| format!("read {}", agent.display()))?;
    dist::check_static(agent, &program)?;
    Image {
        names: &[NAME],
        config: json!({
            // Said as a number: runAsNonRoot and the like cannot judge a name.
            "User": "0",
            "Entrypoint": [ENTRYPOINT],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "oom-agent",
                "org.opencontainers.image.description": "Names what the Linux OOM killer struck",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        }),
        files: vec![File::Program(ENTRYPOINT.trim_start_matches('/'), &program)],
    }
    .write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    fn text(file: &str) -> String {
        fs::read_to_string(workspace::root().join(file)).unwrap()
    }

    #[test]
    fn the_manifest_asks_for_this_image() {
        assert!(text("daemonset.yaml").contains(&format!("image: {NAME}\n")));
    }

    #[test]
    fn the_dockerfile_makes_the_same() {
        let dockerfile = text("deploy/Dockerfile");
        for line in ["FROM scratch", "USER 0", r#"ENTRYPOINT ["/oom-agent"]"#] {
            assert!(dockerfile.lines().any(|one| one == line), "{line}");
        }
        assert!(dockerfile.contains(" /oom-agent\n"), "{dockerfile}");
    }

    #[test]
    fn what_is_not_static_is_not_packed() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("agent");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let out = dir.path().join("image.tar");
        pack(&script, &out).unwrap_err();
        assert!(!out.exists());
    }
}
