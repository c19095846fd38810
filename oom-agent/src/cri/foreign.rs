//! Recognises what a socket without CRI v1 speaks.

use std::time::Duration;

use http::uri::PathAndQuery;
use proto::cri::{VersionRequest, VersionResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::client::Grpc;
use tonic::transport::Channel;

use super::Socket;

/// For one probe.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);

/// Bytes of an answer that are read: Docker names itself in the headers.
const ANSWER_LEN: u64 = 1024;

/// The type of the first frame of an HTTP/2 server, and its offset: RFC 9113, 4.1 and 3.4.
const SETTINGS: u8 = 4;
const FRAME_TYPE: usize = 3;

/// What the socket speaks, after a call of CRI v1 failed with `status`; `None` where it may still be
/// CRI v1.
pub(super) async fn recognise(
    socket: &Socket,
    channel: &Channel,
    status: &tonic::Status,
) -> Option<&'static str> {
    if status.code() == Code::Unimplemented {
        return Some(if speaks_v1alpha2(channel).await {
            "it speaks CRI v1alpha2 only, as containerd before 1.6 and CRI-O before 1.20 do"
        } else {
            "it speaks gRPC without CRI, as a containerd with its CRI plugin disabled does"
        });
    }
    let is_servers = std::error::Error::source(status).is_none();
    if is_servers {
        return None;
    }
    let answer = timeout(PROBE_TIMEOUT, send_http1_request(socket))
        .await
        .ok()??;
    let contains = |word: &[u8]| answer.windows(word.len()).any(|bytes| bytes == word);
    if answer.starts_with(b"HTTP/1.") {
        let is_docker = contains(b"Docker/") || contains(b"Api-Version:");
        return Some(if is_docker {
            "it speaks Docker's own API: cri-dockerd has a socket that speaks CRI"
        } else {
            "it speaks HTTP/1, not gRPC"
        });
    }
    // An HTTP/2 server may be busy. One that sends anything else first is not HTTP/2.
    let frame = answer.get(FRAME_TYPE)?;
    (*frame != SETTINGS).then_some("it does not speak gRPC")
}

async fn speaks_v1alpha2(channel: &Channel) -> bool {
    let call = async {
        let mut client = Grpc::new(channel.clone());
        client.ready().await.ok()?;
        let request = tonic::Request::new(VersionRequest {
            version: "v1alpha2".to_owned(),
        });
        let path = PathAndQuery::from_static("/runtime.v1alpha2.RuntimeService/Version");
        // v1 has the same message.
        let codec = proto::cri_codec::<VersionRequest, VersionResponse>();
        client.unary(request, path, codec).await.ok()
    };
    timeout(PROBE_TIMEOUT, call).await.ok().flatten().is_some()
}

async fn send_http1_request(socket: &Socket) -> Option<Vec<u8>> {
    let mut stream = UnixStream::connect(socket.path()).await.ok()?;
    let request = b"GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER_LEN);
    // Bytes before a reset count, too.
    let _read = timeout(PROBE_TIMEOUT / 2, limited.read_to_end(&mut answer)).await;
    Some(answer)
}
