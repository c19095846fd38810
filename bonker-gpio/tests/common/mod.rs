#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "shared by several test binaries, each of which uses its part; a helper of tests may panic"
)]

//! A real server on a free port, around a servo that can be held.

pub mod http;
pub mod program;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bonker_gpio::{
    Access, App, Arm, Backend, Calibration, Choreography, End, Failure, History, Limits, Motion,
    PeerRate, PortLimits, Ports, ServeError, Servo, Settings, Step, Tempo, run,
};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{Acknowledgement, BonkItem, Outcome};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

pub const REST_US: u16 = 1000;
pub const STRIKE_US: u16 = 2000;

/// Three bursts, and the way to rest.
pub const BOOT: [Option<u16>; 8] = {
    let rest = Some(REST_US);
    [rest, None, rest, None, rest, None, rest, None]
};

/// Waits at the pulse `held_us` until the [`Gate`]'s `open` is dropped or sent to.
pub struct GatedServo {
    held_us: Option<u16>,
    gate: mpsc::Receiver<()>,
    moves: Arc<Mutex<Vec<Option<u16>>>>,
    arrived: tokio::sync::mpsc::UnboundedSender<u16>,
}

/// The test's end of a [`GatedServo`].
pub struct Gate {
    pub open: Option<mpsc::Sender<()>>,
    /// Pulses in µs; `None` where it was detached.
    pub moves: Arc<Mutex<Vec<Option<u16>>>>,
    pub arrived: tokio::sync::mpsc::UnboundedReceiver<u16>,
}

pub fn servo(held_us: Option<u16>) -> (GatedServo, Gate) {
    let (open, gate) = mpsc::channel();
    let (arrived_tx, arrived) = tokio::sync::mpsc::unbounded_channel();
    let moves: Arc<Mutex<Vec<Option<u16>>>> = Arc::default();
    let servo = GatedServo {
        held_us,
        gate,
        moves: Arc::clone(&moves),
        arrived: arrived_tx,
    };
    let open = Some(open);
    (
        servo,
        Gate {
            open,
            moves,
            arrived,
        },
    )
}

impl Gate {
    /// Waits until the servo gets a pulse of `us`.
    pub async fn reached(&mut self, us: u16) {
        while within(self.arrived.recv()).await.unwrap() != us {}
    }
}

impl Servo for GatedServo {
    fn drive(&mut self, step: &Step) -> Result<(), Failure> {
        self.moves.lock().unwrap().push(Some(step.pulse_us));
        let _ = self.arrived.send(step.pulse_us);
        if self.held_us == Some(step.pulse_us) {
            let _ = self.gate.recv();
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<(), Failure> {
        self.moves.lock().unwrap().push(None);
        Ok(())
    }
}

/// The default, but for the rate of a peer, which all clients of a test share.
pub fn settings() -> Settings {
    Settings {
        peer_rate: PeerRate {
            per_minute: u32::MAX,
            burst: u32::MAX,
        },
        ..Settings::default()
    }
}

/// What a test fills up.
pub const MAX_CONNECTIONS: usize = 256;
pub const MAX_CONNECTIONS_PER_PEER: usize = 128;

/// Open to everybody within small limits.
pub fn access() -> Access {
    Access {
        limits: PortLimits {
            connections: MAX_CONNECTIONS,
            per_peer: MAX_CONNECTIONS_PER_PEER,
        },
        ..Access::default()
    }
}

pub struct Server {
    pub address: SocketAddr,
    /// Of the web side.
    pub web: SocketAddr,
    pub app: App,
    ready: Option<oneshot::Receiver<SocketAddr>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    /// Returns as soon as it listens, which is before the boot motion.
    pub async fn start(servo: GatedServo) -> Self {
        Self::with(servo, settings(), History::in_memory()).await
    }

    pub async fn with(servo: GatedServo, settings: Settings, history: History) -> Self {
        let anywhere = "127.0.0.1:0".parse().unwrap();
        Self::at(anywhere, servo, settings, history).await
    }

    pub async fn at(
        address: SocketAddr,
        servo: GatedServo,
        settings: Settings,
        history: History,
    ) -> Self {
        Self::serve(address, servo, settings, history, access()).await
    }

    /// As [`Server::start`], for those whom `access` lets in.
    pub async fn guarded(servo: GatedServo, access: Access) -> Self {
        Self::serve(
            "127.0.0.1:0".parse().unwrap(),
            servo,
            settings(),
            History::in_memory(),
            access,
        )
        .await
    }

    async fn serve(
        address: SocketAddr,
        servo: GatedServo,
        settings: Settings,
        history: History,
        access: Access,
    ) -> Self {
        let backend = Backend {
            name: "gated",
            reason: "a test".to_owned(),
        };
        let limits = Limits::try_from(Calibration::default()).unwrap();
        let tempo = Tempo {
            strike: Duration::ZERO,
            rest: Duration::ZERO,
        };
        let plan = Choreography {
            tempo,
            ..Choreography::within(limits)
        };
        let motion = Motion::new(plan, End::Rest).unwrap();
        let app = App::new(settings, history, backend, &motion);
        let arm = Arm::new(Box::new(servo), motion, app.clone()).unwrap();
        let grpc = TcpListener::bind(address).await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = grpc.local_addr().unwrap();
        let web = http.local_addr().unwrap();
        let http = Some(http);
        let (ready_tx, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(
            app.clone(),
            arm,
            Ports { grpc, http, access },
            move |address| ready_tx.send(address).unwrap(),
            async move {
                let _ = stopped.await;
            },
        ));
        Self {
            address,
            web,
            app,
            ready: Some(ready),
            stop: Some(stop),
            task,
        }
    }

    pub async fn ready(&mut self) {
        let ready = self.ready.take().unwrap();
        assert_eq!(within(ready).await.unwrap(), self.address);
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        // The smallest window, so that a reader who does not read is felt.
        let endpoint = endpoint.initial_stream_window_size(65_535);
        within(endpoint.connect()).await.unwrap()
    }

    pub async fn client(&self) -> BonkServiceClient<Channel> {
        BonkServiceClient::new(self.channel().await)
    }

    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub async fn stopped(self) {
        within(self.task).await.unwrap().unwrap();
    }
}

/// Only what hangs takes so long, on a busy machine, too.
pub const HANG: Duration = Duration::from_mins(3);

pub async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, wait).await.expect("in time")
}

pub fn item(id: &str) -> BonkItem {
    BonkItem {
        id: id.to_owned(),
        ..BonkItem::default()
    }
}

pub fn short(answer: Option<Acknowledgement>) -> (String, Outcome, Outcome) {
    let answer = answer.unwrap();
    let (outcome, first) = (answer.outcome(), answer.first_outcome());
    (answer.id, outcome, first)
}
