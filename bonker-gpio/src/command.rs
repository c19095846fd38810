//! Runs the command of a command line.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use service::error_chain::chain;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

use crate::app::App;
use crate::args::{Cli, Command, ReadError, ServeArgs};
use crate::arm::Arm;
use crate::client::ClientError;
use crate::history::History;
use crate::inlets::follow::Follow;
use crate::logs::{self, LogFormat, Logs};
use crate::motion::{End, Motion};
use crate::net::Access;
use crate::server::Ports;
use crate::servo::{self, Choice, Picked};
use crate::{calibrate, certs, client, server, signals, systemd};

/// Exit status for a wrong command line, as clap has it.
const USAGE: u8 = 2;

/// Reads of the history for watchers, and name look-ups.
const BLOCKING_THREADS: usize = 4;

/// Runs the program on the process's own command line.
pub fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(ReadError::Usage(usage)) => {
            // Without standard error there is nowhere to report it.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(USAGE));
        }
        Err(why @ (ReadError::File(_) | ReadError::Variable { .. })) => {
            logs::start(LevelFilter::INFO, LogFormat::Plain).print_error(&why);
            return ExitCode::from(USAGE);
        }
    };
    let logs = logs::start(cli.logs.log_level, cli.logs.log_format);
    if let Command::Serve(args) = &cli.command
        && let Err(why) = args.check_ports()
    {
        logs.print_error(&why);
        return ExitCode::from(USAGE);
    }
    match run(cli.command, &logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            logs.print_error(why.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, logs: &Logs) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        // SIGINT ends the short commands.
        let stop = || signals::stop_requested().context("cannot take over SIGTERM and SIGINT");
        match command {
            Command::Serve(args) => serve(*args, logs, stop()?).await,
            Command::Calibrate(args) => calibrate::calibrate(args, stop()?).await,
            Command::Bonk(args) => Ok(client::bonk(args).await?),
            Command::Status(args) => Ok(client::status(args).await?),
            Command::Snooze(args) => Ok(client::snooze(args).await?),
            Command::Certs(args) => Ok(certs::certs(&args)?),
            Command::Watch(args) => tokio::select! {
                () = stop()? => Ok(()),
                ended = client::watch(args) => Ok(ended?),
            },
        }
    });
    // A backend that hangs on its thread must not keep the process.
    runtime.shutdown_background();
    result
}

async fn serve(
    mut args: ServeArgs,
    logs: &Logs,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let plan = args.servo.choreography();
    let plan = plan.context("the servo's calibration does not hold")?;
    let hub = args.follow.hub().map_err(ClientError::from);
    let hub = hub.and_then(|hub| {
        // A hub that does not answer may come later; a missing file is a mistake.
        hub.as_ref().map_or(Ok(()), client::check)?;
        Ok(hub)
    });
    let hub = hub.context("nothing to follow by these settings")?;
    let history = if let Some(dir) = &args.state {
        History::open(dir)?
    } else {
        warn!("no --state: the counter and the history begin anew with every start");
        History::in_memory()
    };
    let end = if history.toggled() {
        End::Strike
    } else {
        End::Rest
    };
    let motion = Motion::new(plan, end).context("the servo's settings do not hold")?;
    let Picked { servo, backend } = servo::pick(
        args.servo.backend,
        &args.servo.hardware,
        plan.limits,
        logs.screen(),
    )?;
    let (name, reason) = (backend.name, backend.reason.as_str());
    if args.servo.backend == Choice::Auto && name == "sim" {
        warn!(
            backend = name,
            reason, "picked the backend; no servo will move"
        );
    } else {
        info!(backend = name, reason, "picked the backend");
    }
    let quiet = &mut args.admission.quiet;
    if !quiet.hours.is_empty() {
        let zone = quiet.zone.get_or_insert_with(TimeZone::system);
        let zone = zone.iana_name().unwrap_or("UTC");
        info!(zone, "keeping quiet hours");
    }
    let app = App::new(args.admission, history.clone(), backend, &motion);
    let acceptors = args.security.acceptors();
    let (grpc_tls, http_tls) = acceptors.context("no TLS by these files")?;
    let access = Access {
        grpc: grpc_tls,
        http: http_tls,
        token: args.security.token().context("no token by this file")?,
        private: args.security.private,
        limits: args.network.limits,
        idle_timeout: args.network.idle_timeout,
    };
    #[cfg(target_os = "linux")]
    crate::net::open_files::allow(args.network.limits.connections);
    let scheme = access.grpc.scheme();
    let address = args.network.listen;
    let grpc = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: is another bonker running? --listen takes another one")
    })?;
    let http = match args.network.http_listen {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot listen on {address}: --http-listen takes an address of this host and a \
                 free port"
            )
        })?),
        None => None,
    };
    let web = http.as_ref().map(TcpListener::local_addr).transpose();
    let web = web.context("cannot find the address that HTTP is served on")?;
    if args.network.insecure {
        warn!(%address, scheme, "insecure: anybody who reaches this address may watch or bonk");
    }
    let following = hub.map(|hub| tokio::spawn(Follow::hub(hub, app.clone()).run()));
    let arm = Arm::new(servo, motion, app.clone()).context("cannot start the servo's thread")?;
    let ready = |address| {
        announce(scheme, address, web);
        systemd::ready();
    };
    let stop = async move {
        stop.await;
        // Before the app stops: an item that it rejects would count as followed.
        if let Some(following) = following {
            following.abort();
        }
        systemd::stopping();
    };
    let watchdog = systemd::watchdog(arm.heartbeat());
    let served = tokio::select! {
        served = server::run(app, arm, Ports { grpc, http, access }, ready, stop) => served,
        never = watchdog => match never {},
    };
    history.close();
    Ok(served?)
}

/// The only output on standard output, for programs that need the ports.
fn announce(scheme: &str, address: SocketAddr, web: Option<SocketAddr>) {
    let mut stdout = io::stdout().lock();
    let mut line = format!("listening on {scheme}://{address}\n");
    if let Some(web) = web {
        // Writing to a String cannot fail.
        let _ = writeln!(line, "web on {scheme}://{web}/");
    }
    if let Err(why) = stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush())
    {
        warn!(
            error = %chain(&why),
            "cannot print the ready line; serving all the same"
        );
    }
}
