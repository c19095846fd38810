//! `cargo xtask image`: the agent, the same as a sidecar, or the bonker for a hub, as a container image FROM scratch, in an
//! archive that runtimes import; no registry, no daemon.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::binaries::{GUEST, RELEASE, build_static};
use crate::{build_ebpf, dist, terminal};
use archive::architecture;
pub use archive::{File, Image};

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
pub(crate) struct Packed {
    name: &'static str,
    pub(crate) program: &'static str,
    /// Arguments before those of a container.
    command: Option<&'static str>,
    /// As a number: runAsNonRoot and the like cannot judge a name.
    user: &'static str,
    description: &'static str,
}

pub(crate) const AGENT: Packed = Packed {
    name: NAME,
    program: "oom-agent",
    command: None,
    user: "0",
    description: "Reports every Linux OOM kill, with its container and pod",
};

pub(crate) const SIDECAR: Packed = Packed {
    name: SIDECAR_NAME,
    command: Some("sidecar"),
    description: "Signals the processes of a pod before they reach their memory limit",
    ..AGENT
};

/// For the tests alone.
pub(crate) const BLOAT: Packed = Packed {
    name: "localhost/oom-bonker/bloat:1",
    program: "lab",
    command: Some("bloat"),
    user: "0",
    description: "Grows until it is warned",
};

const HUB: Packed = Packed {
    name: HUB_NAME,
    program: "bonker-gpio",
    command: None,
    user: "65532",
    description: "Swings a servo at a toy penguin for every Linux OOM kill",
};

/// Flags of the command.
#[derive(Debug, Clone, clap::Args)]
// The flattened one is called Args, too.
#[group(skip)]
pub struct Args {
    /// Pack the agent as the tests build it: in a fraction of the time, and slower
    #[arg(long)]
    debug: bool,
    /// Pack bonker-gpio for deploy/hub.yaml instead of the agent
    #[arg(long)]
    hub: bool,
    /// Pack the agent for deploy/sidecar.yaml, in the place of `OOMHero`'s image
    #[arg(long, conflicts_with = "hub")]
    sidecar: bool,
    /// Where to [default: dist/PROGRAM-VERSION-ARCHITECTURE.tar]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    build: build_ebpf::Args,
}

/// Builds the program, packs it, and prints what to do with it.
pub fn main(args: Args) -> Result<()> {
    let packed = args.packed();
    if packed.needs_ebpf() {
        build_ebpf::main(args.build)?;
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
    packed.pack(&program, &out)?;
    terminal::line(format_args!(
        "{}: {}\nimport it on every node: ctr --namespace k8s.io images import {}",
        out.display(),
        packed.name,
        out.display()
    ));
    Ok(())
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

    fn profile(&self) -> &'static str {
        if self.debug { GUEST } else { RELEASE }
    }
}

// === impl Packed ===

impl Packed {
    /// What its archive is called, but for version and architecture.
    pub(crate) fn file(&self) -> String {
        let command = self.command.map(|command| format!("-{command}"));
        format!("{}{}", self.program, command.unwrap_or_default())
    }

    /// Whether the eBPF object is built first.
    fn needs_ebpf(&self) -> bool {
        self.program == AGENT.program
    }

    fn entrypoint(&self) -> Vec<String> {
        let command = self.command.map(str::to_owned);
        [format!("/{}", self.program)]
            .into_iter()
            .chain(command)
            .collect()
    }

    /// Packs a static program.
    pub(crate) fn pack(&self, program: &Path, out: &Path) -> Result<()> {
        dist::check_static(program)?;
        let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
        Image {
            names: &[self.name],
            config: json!({
                "User": self.user,
                "Entrypoint": self.entrypoint(),
                "WorkingDir": "/",
                "Labels": {
                    "org.opencontainers.image.title": self.program,
                    "org.opencontainers.image.description": self.description,
                    "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                    "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
                },
            }),
            files: vec![File::Program(self.program, &bytes)],
        }
        .write(out)
    }
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
            let build = (packed.program, packed.needs_ebpf(), args.profile());
            assert_eq!(build, (program, needs_ebpf, profile), "{flags:?}");
        };
        check(&[], "oom-agent", true, RELEASE);
        check(&["--debug"], "oom-agent", true, GUEST);
        check(&["--sidecar"], "oom-agent", true, RELEASE);
        check(&["--hub"], "bonker-gpio", false, RELEASE);
        check(&["--hub", "--debug"], "bonker-gpio", false, GUEST);
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
        AGENT.pack(&script, &out).unwrap_err();
        assert!(!out.exists());
    }
}
