//! A page: what can be done to it, and what it did. Chromium's debugging protocol has JSON messages, each
//! with a NUL at its end, on two pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::wait::HANG;

/// How long [`Page::until`] looks, in ms.
const SOON_MS: u32 = 30_000;

/// How the page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Width of the window in CSS pixels.
    pub width: u32,
    /// Height of the window in CSS pixels.
    pub height: u32,
    /// Whether dark is preferred.
    pub dark: bool,
    /// Whether little motion is preferred.
    pub still: bool,
}

/// One tab. What it did so far is in [`Page::requests`] and [`Page::complaints`].
#[derive(Debug)]
pub struct Page {
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// The number of the last command.
    last: u64,
    session: Option<String>,
    events: Vec<Value>,
}

impl Look {
    /// A window on a desk.
    pub const DESKTOP: Self = Self {
        width: 1280,
        height: 960,
        dark: false,
        still: false,
    };
    /// A narrow phone.
    pub const PHONE: Self = Self {
        width: 360,
        height: 780,
        dark: false,
        still: false,
    };
}

impl Page {
    pub(super) fn open(commands: ChildStdin, answers: ChildStdout) -> Result<Self> {
        let (sender, messages) = channel();
        // Ends with the browser, which closes the pipe.
        thread::spawn(move || {
            let messages = BufReader::new(answers).split(0).map_while(Result::ok);
            messages
                .map_while(|message| serde_json::from_slice(&message).ok())
                .try_for_each(|message| sender.send(message))
        });
        let mut page = Self {
            commands,
            messages,
            last: 0,
            session: None,
            events: Vec::new(),
        };
        let target = page.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target.get("targetId"), "flatten": true});
        let attached = page.call("Target.attachToTarget", &attach)?;
        let session = attached.get("sessionId").and_then(Value::as_str);
        page.session = Some(session.context("a session")?.to_owned());
        for domain in [
            "Page",
            "Runtime",
            "Log",
            "Network",
            "Accessibility",
            "Audits",
        ] {
            page.call(&format!("{domain}.enable"), &json!({}))?;
        }
        page.look(Look::DESKTOP)?;
        Ok(page)
    }

    /// Any command of the protocol: its result. Events that come meanwhile are kept.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if let (Some(session), Some(command)) = (&self.session, command.as_object_mut()) {
            command.insert("sessionId".to_owned(), session.as_str().into());
        }
        self.commands
            .write_all(format!("{command}\0").as_bytes())
            .with_context(|| format!("send {method} to chromium"))?;
        let deadline = Instant::now() + HANG;
        loop {
            let mut message = self
                .receive(deadline)
                .with_context(|| format!("wait for the answer to {method}"))?;
            if message.get("id").and_then(Value::as_u64) != Some(self.last) {
                self.events.push(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("chromium refused {method}: {error}");
            }
            let result = message.get_mut("result").map(Value::take);
            return Ok(result.unwrap_or_default());
        }
    }

    /// Goes to `url` and waits until everything it names is loaded.
    pub fn visit(&mut self, url: &str) -> Result<()> {
        let went = self.load("Page.navigate", &json!({"url": url}))?;
        match went.get("errorText").and_then(Value::as_str) {
            Some(error) => bail!("{url}: {error}"),
            None => Ok(()),
        }
    }

    /// As a person does, by F5.
    pub fn reload(&mut self) -> Result<()> {
        self.load("Page.reload", &json!({})).map(drop)
    }

    /// A command that loads a page, as it does when it fails.
    fn load(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.drain();
        let before = self.events.len();
        let result = self.call(method, params)?;
        let deadline = Instant::now() + HANG;
        let is_loaded = |event: &Value| name(event) == "Page.loadEventFired";
        while !self.events.iter().skip(before).any(is_loaded) {
            let event = self.receive(deadline).context("wait for a page")?;
            self.events.push(event);
        }
        Ok(result)
    }

    /// Changes window and preferences.
    pub fn look(&mut self, look: Look) -> Result<()> {
        let phone = look.width < 600;
        let window = json!({"width": look.width, "height": look.height, "mobile": phone,
            "deviceScaleFactor": if phone { 2 } else { 1 }});
        self.call("Emulation.setDeviceMetricsOverride", &window)?;
        let choose = |yes: bool, a: &'static str, b: &'static str| if yes { a } else { b };
        let features = json!([
            {"name": "prefers-color-scheme", "value": choose(look.dark, "dark", "light")},
            {"name": "prefers-reduced-motion", "value": choose(look.still, "reduce", "no-preference")},
        ]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}))?;
        Ok(())
    }

    /// The value of a JavaScript expression, or of what it promises.
    pub fn eval(&mut self, expression: &str) -> Result<Value> {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &params)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {thrown}");
        }
        Ok(answer.pointer("/result/value").cloned().unwrap_or_default())
    }

    /// Looks at every frame until the expression is true, and returns its value then.
    pub fn until(&mut self, expression: &str) -> Result<Value> {
        let look = format!(
            "new Promise((found, lost) => {{ const end = performance.now() + {SOON_MS}; \
             const look = () => {{ const value = ({expression}); if (value) found(value); \
             else if (performance.now() > end) lost(new Error('not in time')); \
             else requestAnimationFrame(look); }}; look(); }})"
        );
        self.eval(&look)
            .with_context(|| format!("wait until {expression}"))
    }

    /// Presses and releases a key: `Tab`, `Enter`, ` `.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            other => bail!("no code is known for the key {other}"),
        };
        let down = json!({"type": if text.is_empty() { "rawKeyDown" } else { "keyDown" },
            "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", &down)?;
        let up = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", &up).map(drop)
    }

    /// Types into what has the focus.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", &json!({"text": text}))
            .map(drop)
    }

    /// What assistive technology is given: role and name of each node that is not hidden.
    pub fn accessible(&mut self) -> Result<Vec<(String, String)>> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}))?;
        let nodes = tree.get("nodes").and_then(Value::as_array);
        let shown = nodes
            .into_iter()
            .flatten()
            .filter(|node| node.get("ignored") == Some(&json!(false)));
        let text = |node: &Value, pointer: &str| {
            let found = node.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        Ok(shown
            .map(|node| (text(node, "/role/value"), text(node, "/name/value")))
            .collect())
    }

    /// The window's picture, as the bytes of a PNG in base64.
    pub(crate) fn screenshot(&mut self) -> Result<String> {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        let data = shot.get("data").and_then(Value::as_str);
        Ok(data.context("a picture")?.to_owned())
    }

    /// The URL of every request so far.
    pub fn requests(&mut self) -> Vec<String> {
        self.drain();
        let sent = |event: &&Value| name(event) == "Network.requestWillBeSent";
        let sent = self.events.iter().filter(sent);
        sent.filter_map(|event| event.pointer("/params/request/url"))
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// What a person would see in red so far: errors and warnings of the console, uncaught
    /// exceptions, violations of the policy, dialogs; but not that a request failed that
    /// answers `expected`, a part of the message.
    pub fn complaints(&mut self, expected: &[&str]) -> Vec<String> {
        self.drain();
        let bad = |event: &&Value| match name(event) {
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" | "Audits.issueAdded" => {
                true
            }
            "Runtime.consoleAPICalled" => {
                let kind = event.pointer("/params/type").and_then(Value::as_str);
                matches!(kind, Some("error" | "warning" | "assert"))
            }
            "Log.entryAdded" => {
                let level = event.pointer("/params/entry/level").and_then(Value::as_str);
                matches!(level, Some("error" | "warning"))
            }
            _ => false,
        };
        let complaints = self.events.iter().filter(bad).map(Value::to_string);
        complaints
            .filter(|text| !expected.iter().any(|part| text.contains(part)))
            .collect()
    }

    fn drain(&mut self) {
        self.events.extend(self.messages.try_iter());
    }

    fn receive(&self, deadline: Instant) -> Result<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.messages.recv_timeout(left).map_err(|why| match why {
            RecvTimeoutError::Timeout => anyhow::anyhow!("not within {HANG:?}"),
            RecvTimeoutError::Disconnected => anyhow::anyhow!("chromium has ended"),
        })
    }
}

fn name(event: &Value) -> &str {
    event
        .get("method")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
