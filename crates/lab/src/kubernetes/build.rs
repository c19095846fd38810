//! The build of Kubernetes' programs, as Debian's package and Kubernetes' makefiles do it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::process::{capture, run};

use super::packages::Packages;

/// What Debian 12 has.
const VERSION: &str = "v1.20.2";

pub(super) struct Build {
    gopath: PathBuf,
    goroot: PathBuf,
    source: PathBuf,
    work: PathBuf,
}

impl Build {
    pub(super) fn unpack(work: &Path, packages: &Packages) -> Result<Self> {
        let build = Self {
            gopath: work.join("gopath"),
            goroot: packages.root().join("usr/lib/go-1.19"),
            source: work.join("gopath/src/k8s.io/kubernetes"),
            work: work.to_path_buf(),
        };
        fs::create_dir_all(&build.source).context("make a directory for the source")?;
        let tarball = fs::read_dir(packages.downloads())
            .context("list what was fetched")?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().contains(".orig.tar."))
            .context("a source package without a tarball")?;
        run(Command::new("tar")
            .arg("-xf")
            .arg(tarball)
            .arg("-C")
            .arg(&build.source)
            .arg("--strip-components=1"))?;
        // 1.0.1, as vendored, corrupts memory on maps from Go 1.18 on; Debian's package has the repair.
        let vendored = build.source.join("vendor/github.com/modern-go/reflect2");
        fs::remove_dir_all(&vendored).with_context(|| format!("remove {}", vendored.display()))?;
        let repaired = packages
            .root()
            .join("usr/share/gocode/src/github.com/modern-go/reflect2");
        run(Command::new("cp").arg("-rL").arg(repaired).arg(&vendored))?;
        Ok(build)
    }

    /// The `OpenAPI` definitions, which the source comes without.
    pub(super) fn openapi(&self) -> Result<()> {
        let generator = self.work.join("openapi-gen");
        run(self
            .go_build(&generator)
            .arg("k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen"))?;
        run(Command::new(&generator)
            .args(["--logtostderr", "-i", &self.openapi_packages()?])
            .args([
                "-p",
                "k8s.io/kubernetes/pkg/generated/openapi",
                "-O",
                "zz_generated.openapi",
            ])
            .args([
                "-h",
                "vendor/k8s.io/code-generator/hack/boilerplate.go.txt",
                "-r",
            ])
            .arg(self.work.join("violations"))
            .arg("-o")
            .arg(self.gopath.join("src"))
            .current_dir(&self.source)
            .envs(self.env()))
    }

    /// The packages with the tag for definitions, comma separated.
    fn openapi_packages(&self) -> Result<String> {
        let mut files = String::new();
        for (flag, places) in [
            ("-rl", &["cmd", "pkg", "plugin"][..]),
            ("-Rl", &["vendor/k8s.io"][..]),
        ] {
            files.push_str(&capture(
                Command::new("grep")
                    .args([flag, "--include=*.go", "+k8s:openapi-gen="])
                    .args(places)
                    .current_dir(&self.source),
            )?);
        }
        Ok(packages(&files))
    }

    /// Two rules on events as later servers have them: updates are compared with
    /// the old object, and an event on a cluster-scoped object may be in `default`.
    pub(super) fn mend_events(&self) -> Result<()> {
        self.replace(
            "pkg/registry/core/event/strategy.go",
            "oldEvent := obj.(*api.Event)",
            "oldEvent := old.(*api.Event)",
        )?;
        self.replace(
            "pkg/apis/core/validation/events.go",
            "if len(event.InvolvedObject.Namespace) == 0 && event.Namespace != metav1.NamespaceSystem {",
            "if len(event.InvolvedObject.Namespace) == 0 && event.Namespace != metav1.NamespaceDefault \
             && event.Namespace != metav1.NamespaceSystem {",
        )
    }

    fn replace(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.source.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
        fs::write(&path, text.replace(from, to)).with_context(|| format!("write {file}"))
    }

    /// `programs` of `cmd/`, into the directory `out`.
    pub(super) fn programs(&self, programs: &[&str], out: &Path) -> Result<()> {
        let mut flags = "-s -w".to_owned();
        for package in ["component-base/version", "client-go/pkg/version"] {
            let package = format!("k8s.io/kubernetes/vendor/k8s.io/{package}");
            for (name, value) in [
                ("gitVersion", VERSION),
                ("gitMajor", "1"),
                ("gitMinor", "20"),
            ] {
                let _ = write!(flags, " -X {package}.{name}={value}");
            }
        }
        run(self
            .go_build(out)
            .args(["-trimpath", "-tags=providerless", "-ldflags", &flags])
            .args(
                programs
                    .iter()
                    .map(|program| format!("k8s.io/kubernetes/cmd/{program}")),
            ))
    }

    fn go_build(&self, out: &Path) -> Command {
        let mut command = Command::new(self.goroot.join("bin/go"));
        command
            .args(["build", "-o"])
            .arg(out)
            .current_dir(&self.source)
            .envs(self.env());
        command
    }

    fn env(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let mut path = self.goroot.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        vec![
            ("PATH", path),
            ("GOROOT", self.goroot.clone().into()),
            ("GOPATH", self.gopath.clone().into()),
            ("GOCACHE", self.work.join("gocache").into()),
            ("GO111MODULE", "off".into()),
            ("GOFLAGS", "".into()),
            ("CGO_ENABLED", "0".into()),
            // Memory for speed.
            ("GOGC", "400".into()),
        ]
    }
}

/// From file names, one a line: their packages, without those that only mention
/// the tag.
fn packages(files: &str) -> String {
    const OTHERS: [&str; 4] = [
        "code-generator",
        "sample-apiserver",
        "kube-openapi",
        "gengo",
    ];
    let mut packages: Vec<String> = files
        .lines()
        .filter(|file| {
            !OTHERS
                .iter()
                .any(|other| file.starts_with(&format!("vendor/k8s.io/{other}/")))
        })
        .filter(|file| {
            !file.ends_with("_test.go")
                && !file.contains("zz_generated")
                && !file.contains("testdata")
        })
        .filter_map(|file| Some(format!("k8s.io/kubernetes/{}", file.rsplit_once('/')?.0)))
        .collect();
    packages.sort();
    packages.dedup();
    packages.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_with_the_definitions_tag() {
        let files = "pkg/b/types.go\npkg/a/doc.go\npkg/a/types.go\npkg/a/a_test.go\n\
                     vendor/k8s.io/gengo/x/y.go\nvendor/k8s.io/api/v1/doc.go\npkg/c/zz_generated.go\n";
        assert_eq!(
            packages(files),
            "k8s.io/kubernetes/pkg/a,k8s.io/kubernetes/pkg/b,k8s.io/kubernetes/vendor/k8s.io/api/v1"
        );
    }
}
