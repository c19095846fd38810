//! `cargo xtask screenshots`: the pictures of the page that the README shows.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::bonk::{BonkItem, Severity};
use xtask::debian::{Consent, Debian};
use xtask::process::run;
use xtask::{binaries, terminal, workspace};

use crate::agent::Bonker;
use crate::bonks::Bonks;
use crate::chromium::{Chromium, Look, Page};

/// Flags of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// What happened, oldest first: namespace, pod, container, comm, node, severity, why.
const INCIDENTS: &str = "\
search indexer-5b8d7 indexer java worker-2 KILL java (pid 2210) was OOM-killed in container indexer of search/indexer-5b8d7, at the container's limit of 2 GiB
shop checkout-6d4f9 checkout java worker-1 KILL java (pid 812) was OOM-killed in container checkout of shop/checkout-6d4f9 with 498 MiB resident, at the container's limit of 512 MiB
shop cart-7f9c5d cart node worker-3 KILL node (pid 311) was OOM-killed in container cart of shop/cart-7f9c5d, at the container's limit of 256 MiB
batch trainer-0 trainer python3 worker-1 NODE python3 (pid 9942) was OOM-killed in container trainer of batch/trainer-0, because the node had no memory left
monitoring prometheus-0 prometheus - worker-2 CRITICAL prometheus is at 97% of its limit and growing
search indexer-9k2x1 indexer - worker-2 WARNING indexer is at 91% of its limit
batch report-28810-x7k report python3 worker-3 KILL python3 (pid 77) was OOM-killed in container report of batch/report-28810-x7k, at the container's limit of 1 GiB; set off by gzip (pid 81)
shop cart-2m8zt1 cart node worker-3 KILL node (pid 4711) was OOM-killed in container cart of shop/cart-2m8zt1 with 250 MiB resident (anon 241 MiB, file 9 MiB, shmem 0 MiB), at the container's limit of 256 MiB — a leak: +2.9 MiB/s, from half to the limit in 44 s
";

/// Spreads the history over days: the servo swings in real time.
const AGED: &str = "const parse = JSON.parse, ages = [0, 14, 47, 122, 318, 1500, 2900, 4400, 6100, 7600];
    JSON.parse = text => { const value = parse(text);
        value.incidents?.forEach((it, n) => { it.swung_at = new Date(Date.parse(it.swung_at) - ages[n] * 60_000).toISOString(); });
        return value; };";

/// Stops the gesture at its strike.
const STRIKE: &str = "new Promise(done => { const look = () => {
    if (!('shout' in document.getElementById('stage').dataset)) { requestAnimationFrame(look); return; }
    for (const moving of document.getAnimations()) {
        moving.pause();
        moving.currentTime = ['arm', 'penguin', 'floe'].includes(moving.effect.target.id) ? 200 : 1e3;
    }
    requestAnimationFrame(() => done(true)); }; look(); })";

/// Writes `docs/images/page-*.png`.
pub fn main(args: &Args) -> Result<()> {
    let debian = Debian::new(Consent::new(args.yes))?;
    Chromium::prepare(debian)?;
    debian.install("small pictures", &["pngquant"])?;
    let bonker = Bonker::start_with_web(&binaries::bonker()?, &[])?;
    let mut bonks = Bonks::connect(bonker.url())?;
    let mut browser = Chromium::start()?;
    let mut page = browser.page()?;
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        &serde_json::json!({"source": AGED}),
    )?;
    let url = bonker.page().context("a page")?;
    page.visit(&url)?;
    for (n, incident) in INCIDENTS.lines().enumerate() {
        bonks.send(item(n, incident)?)?;
        page.until(&format!(
            "document.getElementById('total').textContent === '{}'",
            n + 1
        ))?;
    }
    let wide = Look {
        height: 900,
        ..Look::DESKTOP
    };
    page.look(wide)?;
    page.reload()?;
    strike(&mut page, &mut bonks, "cart-9d2f7c")?;
    shoot(&mut page, "page-light")?;

    page.look(Look::PHONE)?;
    page.reload()?;
    strike(&mut page, &mut bonks, "cart-x41vq8")?;
    shoot(&mut page, "page-phone")?;

    page.look(Look { dark: true, ..wide })?;
    page.reload()?;
    page.until("document.querySelectorAll('#rows tr').length > 3")?;
    page.eval("document.getElementById('span').value = '28800'; document.querySelector('#snooze button').click(); true")?;
    page.until("document.getElementById('stage').dataset.mood === 'asleep'")?;
    page.eval("document.getElementById('wake').blur(); document.activeElement.blur(); true")?;
    shoot(&mut page, "page-dark")
}

fn strike(page: &mut Page, bonks: &mut Bonks, pod: &str) -> Result<()> {
    page.until("document.querySelectorAll('#rows tr').length > 3")?;
    let incident = INCIDENTS.lines().next_back().context("an incident")?;
    let item = item(0, incident)?;
    bonks.send(BonkItem {
        id: pod.to_owned(),
        summary: item.summary.replace(&item.pod, pod),
        pod: pod.to_owned(),
        ..item
    })?;
    page.eval(STRIKE).map(drop)
}

fn item(number: usize, incident: &str) -> Result<BonkItem> {
    let words: Vec<&str> = incident.splitn(7, ' ').collect();
    let &[namespace, pod, container, comm, node, severity, summary] = words.as_slice() else {
        bail!("seven words: {incident}");
    };
    let comm = comm.trim_matches('-');
    let source = if comm.is_empty() {
        "alertmanager"
    } else {
        "oom-agent"
    };
    let severity = Severity::from_str_name(&format!("SEVERITY_{severity}"));
    let leaks = summary.contains("a leak");
    Ok(BonkItem {
        id: format!("incident-{number}"),
        source: source.to_owned(),
        node: node.to_owned(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        comm: comm.to_owned(),
        summary: summary.to_owned(),
        severity: severity.context("a severity")?.into(),
        usage_permille: if leaks { leak() } else { Vec::new() },
        verdict: if leaks { "leak" } else { "" }.to_owned(),
        ..BonkItem::default()
    })
}

/// A minute that ends at the limit: it grows, and gives back a little now and then.
fn leak() -> Vec<u32> {
    (0..60)
        .map(|second| 320 + second * 11 + second % 7 * 5)
        .chain([1000])
        .skip(1)
        .collect()
}

fn shoot(page: &mut Page, name: &str) -> Result<()> {
    let picture = STANDARD.decode(page.screenshot()?).context("read base64")?;
    let path = workspace::root().join(format!("docs/images/{name}.png"));
    fs::write(&path, picture).with_context(|| format!("write {}", path.display()))?;
    // A palette of 256 colours, which is a third of the size and looks the same.
    run(Command::new("pngquant")
        .args(["--force", "--strip", "--speed", "1", "--output"])
        .args([&path, &path]))?;
    let size = fs::metadata(&path)
        .map(|file| file.len())
        .unwrap_or_default();
    terminal::line(format_args!("{}: {} KiB", path.display(), size / 1024));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_incident_has_a_bonk() {
        let items: Vec<BonkItem> = INCIDENTS
            .lines()
            .map(|line| item(0, line).unwrap())
            .collect();
        assert_eq!(items.len(), 8);
        assert_eq!(
            (items[4].comm.as_str(), items[4].source.as_str()),
            ("", "alertmanager")
        );
        assert_eq!(items[7].verdict, "leak");
    }
}
