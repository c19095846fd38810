//! Runs the command of a command line.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use service::error_chain::chain;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

use crate::app::App;
use crate::args::{Cli, Command, FollowError, Protocol, ReadError, ServeArgs, ServerArgs};
use crate::arm::Arm;
use crate::certs::{self, CertsError};
use crate::history::{History, HistoryError};
use crate::inlets::follow::Follow;
use crate::logs::{self, LogFormat, Logs};
use crate::motion::{DutyError, End, LimitsError, Motion};
use crate::net::Access;
use crate::net::auth::TokenError;
use crate::net::tls::TlsError;
use crate::server::Ports;
use crate::servo::{self, Choice, PickError, Picked};
use crate::{calibrate, client, server, signals, systemd};

/// Exit status for a wrong command line, as clap has it.
const USAGE: u8 = 2;

/// Reads of the history for watchers, and name look-ups.
const BLOCKING_THREADS: usize = 4;

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot take over SIGTERM and SIGINT")]
    Signals(#[source] io::Error),
    #[error("the servo's calibration does not hold")]
    Limits(#[from] LimitsError),
    #[error("the servo's settings do not hold")]
    Duty(#[from] DutyError),
    #[error(transparent)]
    Pick(#[from] PickError),
    #[error("cannot start the servo's thread")]
    Thread(#[source] io::Error),
    #[error("cannot listen on {address}: is another bonker running? --listen takes another one")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "cannot listen on {address}: --http-listen takes an address of this host and a free port"
    )]
    HttpListen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot find the address that HTTP is served on")]
    HttpAddress(#[source] io::Error),
    #[error("no TLS by these files")]
    Tls(#[from] TlsError),
    #[error("no token by this file")]
    Token(#[from] TokenError),
    #[error("nothing to follow by these settings")]
    Follow(#[from] FollowError),
    #[error("nothing to follow with these files")]
    FollowFiles(#[source] client::ClientError),
    #[error(transparent)]
    Certs(#[from] CertsError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Serve(#[from] server::ServeError),
    #[error(transparent)]
    Client(#[from] client::ClientError),
    #[error(transparent)]
    Calibrate(#[from] calibrate::CalibrateError),
}

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
    if let Command::Serve(args) = &cli.command {
        let insecure = args.listen.insecure;
        let mut ports = vec![("listen", args.listen.listen, Protocol::Http2)];
        ports.extend(
            args.web
                .http_listen
                .map(|address| ("http-listen", address, Protocol::Http1)),
        );
        for (flag, address, protocol) in ports {
            if let Err(why) = args.security.check(flag, address, protocol, insecure) {
                logs.print_error(&why);
                return ExitCode::from(USAGE);
            }
        }
    }
    match run(cli.command, &logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            logs.print_error(&why);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, logs: &Logs) -> Result<(), CommandError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(CommandError::Runtime)?;
    let result = runtime.block_on(async {
        // SIGINT ends the short commands.
        let stop = || signals::stop_requested().map_err(CommandError::Signals);
        match command {
            Command::Serve(args) => serve(*args, logs, stop()?).await,
            Command::Calibrate(args) => Ok(calibrate::calibrate(args, stop()?).await?),
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
    args: ServeArgs,
    logs: &Logs,
    stop: impl Future<Output = ()>,
) -> Result<(), CommandError> {
    let plan = args.servo.choreography()?;
    let hub = hub(&args)?;
    let history = history(args.admission.state.as_deref())?;
    let end = if history.toggled() {
        End::Strike
    } else {
        End::Rest
    };
    let motion = Motion::new(plan, end)?;
    let hardware = args.servo.hardware();
    let Picked { servo, backend } =
        servo::pick(args.servo.backend, &hardware, plan.limits, logs.screen())?;
    let (name, reason) = (backend.name, backend.reason.as_str());
    if args.servo.backend == Choice::Auto && name == "sim" {
        warn!(
            backend = name,
            reason, "picked the backend; no servo will move"
        );
    } else {
        info!(backend = name, reason, "picked the backend");
    }
    let settings = args.admission.settings();
    if !settings.quiet.hours.is_empty() {
        let zone = settings.quiet.zone.iana_name().unwrap_or("UTC");
        info!(zone, "keeping quiet hours");
    }
    let app = App::new(settings, history.clone(), backend, &motion);
    let (grpc_tls, http_tls) = args.security.acceptors()?;
    let access = Access {
        grpc: grpc_tls,
        http: http_tls,
        token: args.security.token()?,
        private: args.security.private,
        limits: args.limits.port(),
        idle_timeout: args.limits.idle_timeout,
    };
    #[cfg(target_os = "linux")]
    crate::net::open_files::allow(args.limits.max_connections);
    let scheme = access.grpc.scheme();
    let address = args.listen.listen;
    let grpc = TcpListener::bind(address)
        .await
        .map_err(|source| CommandError::Listen { address, source })?;
    let http = match args.web.http_listen {
        Some(address) => Some(http(address).await?),
        None => None,
    };
    if args.listen.insecure {
        warn!(%address, scheme, "insecure: anybody who reaches this address may watch or bonk");
    }
    let following = hub.map(|hub| tokio::spawn(Follow::hub(hub, app.clone()).run()));
    let arm = Arm::new(servo, motion, app.clone()).map_err(CommandError::Thread)?;
    let (http, web) = http.unzip();
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

/// A hub that does not answer may come later; a missing file is a mistake.
fn hub(args: &ServeArgs) -> Result<Option<ServerArgs>, CommandError> {
    let hub = args.follow.hub()?;
    if let Some(hub) = &hub {
        client::check(hub).map_err(CommandError::FollowFiles)?;
    }
    Ok(hub)
}

fn history(state: Option<&Path>) -> Result<History, CommandError> {
    if let Some(dir) = state {
        return Ok(History::open(dir)?);
    }
    warn!("no --state: the counter and the history begin anew with every start");
    Ok(History::in_memory())
}

async fn http(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CommandError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| CommandError::HttpListen { address, source })?;
    let address = listener.local_addr().map_err(CommandError::HttpAddress)?;
    Ok((listener, address))
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
