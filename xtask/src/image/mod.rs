//! `cargo xtask image`: the agent, the same as a sidecar, or the bonker for a hub, as a container image FROM scratch, in an
//! archive that runtimes import; no registry, no daemon.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::binaries::{Profile, build_static};
use crate::toolchain::Choice;
use crate::{build_ebpf, dist, terminal};
pub use archive::{File, Image, architecture};

/// The image of `daemonset.yaml`. `localhost` is no public registry: where the
/// image was not imported, none of a stranger's is pulled in its place.
pub const NAME: &str = concat!("localhost/oom-bonker/oom-agent:", env!("CARGO_PKG_VERSION"));

/// The image of `deploy/hub.yaml`.
pub(crate) const HUB_NAME: &str = concat!(
    "localhost/oom-bonker/bonker-gpio:",
    env!("CARGO_PKG_VERSION")
);

/// The image of `deploy/sidecar.yaml`: the agent, started as `OOMHero`'s image is, without a command.
pub const SIDECAR_NAME: &str = concat!(
    "localhost/oom-bonker/oom-agent-sidecar:",
    env!("CARGO_PKG_VERSION")
);

/// A program, and who it is in its image.
struct Packed {
    name: &'static str,
    program: &'static str,
    /// The eBPF object is built first.
    needs_ebpf: bool,
    /// Arguments before those of a container.
    command: Option<&'static str>,
    /// As a number: runAsNonRoot and the like cannot judge a name.
    user: &'static str,
    description: &'static str,
}

const AGENT: Packed = Packed {
    name: NAME,
    program: "oom-agent",
    needs_ebpf: true,
    command: None,
    user: "0",
    description: "Reports every Linux OOM kill, with its container and pod",
};

const SIDECAR: Packed = Packed {
    name: SIDECAR_NAME,
    command: Some("sidecar"),
    description: "Signals the processes of a pod before they reach their memory limit",
    ..AGENT
};

/// For the tests alone.
const BLOAT: Packed = Packed {
    name: "localhost/oom-bonker/bloat:1",
    program: "lab",
    needs_ebpf: false,
    command: Some("bloat"),
    user: "0",
    description: "Grows until it is warned",
};

const HUB: Packed = Packed {
    name: HUB_NAME,
    program: "bonker-gpio",
    needs_ebpf: false,
    command: None,
    user: "65532",
    description: "Swings a servo at a toy penguin for every Linux OOM kill",
};

/// Flags of the command.
#[derive(Debug, Clone, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub struct Args {
    /// Pack the agent as the tests build it: in a fraction of the time, and slower
    #[arg(long)]
    pub debug: bool,
    /// Pack bonker-gpio for deploy/hub.yaml instead of the agent
    #[arg(long)]
    pub hub: bool,
    /// Pack the agent for deploy/sidecar.yaml, in the place of `OOMHero`'s image
    #[arg(long, conflicts_with = "hub")]
    pub sidecar: bool,
    /// Where to [default: dist/PROGRAM-VERSION-ARCHITECTURE.tar]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Install what is missing without asking.
    #[arg(long)]
    pub yes: bool,
    /// Which compiler to take for the eBPF object.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolchain: Choice,
}

/// Builds the program, packs it, and prints what to do with it.
pub fn main(args: Args) -> Result<()> {
    let build = build_ebpf::Args {
        yes: args.yes,
        toolchain: args.toolchain,
    };
    let packed = args.packed();
    if packed.needs_ebpf {
        build_ebpf::main(build)?;
    }
    let built = build_static(args.profile(), &[packed.program])?;
    let program = built.join(packed.program);
    let out = args.out.unwrap_or_else(|| {
        let version = env!("CARGO_PKG_VERSION");
        let program = packed.file();
        dist::dir().join(format!("{program}-{version}-{}.tar", architecture()))
    });
    if let Some(dir) = out.parent() {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    write(&packed, &program, &out)?;
    terminal::line(format_args!(
        "{}: {}\nimport it on every node: ctr --namespace k8s.io images import {}",
        out.display(),
        packed.name,
        out.display()
    ));
    Ok(())
}

/// Packs a static agent.
pub fn pack(agent: &Path, out: &Path) -> Result<()> {
    write(&AGENT, agent, out)
}

/// Packs a static agent as a sidecar.
pub(crate) fn pack_sidecar(agent: &Path, out: &Path) -> Result<()> {
    write(&SIDECAR, agent, out)
}

/// Packs a static lab as the application of `OOMHero`'s example.
pub(crate) fn pack_bloat(lab: &Path, out: &Path) -> Result<()> {
    write(&BLOAT, lab, out)
}

// === impl Args ===

impl Args {
    fn packed(&self) -> Packed {
        match (self.hub, self.sidecar) {
            (true, _) => HUB,
            (_, true) => SIDECAR,
            _ => AGENT,
        }
    }

    fn profile(&self) -> Profile {
        if self.debug {
            Profile::Guest
        } else {
            Profile::Release
        }
    }
}

// === impl Packed ===

impl Packed {
    /// What its archive is called, but for version and architecture.
    fn file(&self) -> String {
        let command = self.command.map(|command| format!("-{command}"));
        format!("{}{}", self.program, command.unwrap_or_default())
    }

    fn entrypoint(&self) -> Vec<String> {
        let command = self.command.map(str::to_owned);
        [format!("/{}", self.program)]
            .into_iter()
            .chain(command)
            .collect()
    }
}

fn write(packed: &Packed, program: &Path, out: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    dist::check_static(program, &bytes)?;
    Image {
        names: &[packed.name],
        config: json!({
            "User": packed.user,
            "Entrypoint": packed.entrypoint(),
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": packed.program,
                "org.opencontainers.image.description": packed.description,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        }),
        files: vec![File::Program(packed.program, &bytes)],
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
    fn the_manifest_names_this_image() {
        assert!(text("daemonset.yaml").contains(&format!("image: {NAME}\n")));
    }

    #[test]
    fn the_hub_names_its_image_and_its_user() {
        let hub = text("deploy/hub.yaml");
        assert!(hub.contains(&format!("image: {HUB_NAME}\n")));
        assert!(hub.contains(&format!("runAsUser: {}\n", HUB.user)));
    }

    #[test]
    fn the_hub_is_built_without_the_agent_and_its_ebpf_object() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            image: Args,
        }
        let check = |flags: &[&str], program, needs_ebpf, profile| {
            let line = ["image"].iter().chain(flags);
            let args = <Cli as clap::Parser>::parse_from(line).image;
            let packed = args.packed();
            let build = (packed.program, packed.needs_ebpf, args.profile());
            assert_eq!(build, (program, needs_ebpf, profile), "{flags:?}");
        };
        check(&[], "oom-agent", true, Profile::Release);
        check(&["--debug"], "oom-agent", true, Profile::Guest);
        check(&["--sidecar"], "oom-agent", true, Profile::Release);
        check(&["--hub"], "bonker-gpio", false, Profile::Release);
        check(&["--hub", "--debug"], "bonker-gpio", false, Profile::Guest);
    }

    #[test]
    fn the_sidecars_image_needs_no_command() {
        assert!(text("deploy/sidecar.yaml").contains(&format!("image: {SIDECAR_NAME}\n")));
        assert_eq!(SIDECAR.entrypoint(), ["/oom-agent", "sidecar"]);
        assert_eq!(
            (SIDECAR.file(), AGENT.file()),
            ("oom-agent-sidecar".into(), "oom-agent".into())
        );
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
