//! A hub's registry of one device's modules, over TLS, which checks tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use host::clock::Clock;
use host::http::{
    Full, Incoming, Limits, StatusCode, full, read_body, serve_connection, service_fn,
};
use host::net;
use host::signals::Shutdown;
use host::tls::ServerTls;
use iot_proto::payload::AuthenticationWrite;
use iot_proto::payload::module::ModuleWrite;
use iot_proto::rest::Route;
use iot_proto::sas::SasToken;
use model::DeviceId;
use parking_lot::Mutex;
use pki::{Authority, Validity};
use serde_json::{Value, json};

const NAME: &str = "hub.test";
const DEVICE: &str = "edge1";

pub(crate) struct FakeHub {
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    state: Arc<State>,
    stop: Shutdown,
}

struct State {
    key: Vec<u8>,
    modules: Mutex<BTreeMap<String, Module>>,
    /// Answers every request with this status.
    fault: Mutex<Option<(u16, &'static str)>>,
    requests: Mutex<Vec<String>>,
    generation: Mutex<u64>,
}

#[derive(Clone)]
pub(crate) struct Module {
    pub(crate) generation: String,
    pub(crate) managed_by: Option<String>,
    pub(crate) primary_key: Option<String>,
}

impl FakeHub {
    pub(crate) async fn start() -> Self {
        let now = Clock::system().wall();
        let life = Validity::starting(now, Duration::from_secs(3600));
        let authority = Authority::create_root("fake hub CA", life).unwrap();
        let issued = authority.issue_server(&[NAME.parse().unwrap()], life).unwrap();
        let tls = ServerTls::new(&issued.chain_pem, &issued.key_pem).unwrap();
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            key: host::entropy::bytes::<32>().to_vec(),
            modules: Mutex::default(),
            fault: Mutex::default(),
            requests: Mutex::default(),
            generation: Mutex::new(600),
        });
        let hub = Self { port, ca_pem: authority.root_pem(), state, stop: Shutdown::new() };
        hub.put("$edgeAgent", None);
        let (state, stop) = (Arc::clone(&hub.state), hub.stop.clone());
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    (stream, _) = listener.accept() => stream,
                    () = stop.wait() => return,
                };
                let (tls, state, stop) = (tls.clone(), Arc::clone(&state), stop.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, host::http::Never>(state.answer(request).await) }
                    });
                    let _ = serve_connection(stream, service, Limits::default(), &stop).await;
                });
            }
        });
        hub
    }

    pub(crate) fn connection_string(&self) -> String {
        format!(
            "HostName={NAME};DeviceId={DEVICE};SharedAccessKey={}",
            STANDARD.encode(&self.state.key)
        )
    }

    /// Creates a module as an operator would; gives its generation.
    pub(crate) fn put(&self, module: &str, managed_by: Option<&str>) -> String {
        let generation = self.state.next_generation();
        let managed_by = managed_by.map(str::to_owned);
        let created = Module { generation: generation.clone(), managed_by, primary_key: None };
        self.state.modules.lock().insert(module.to_owned(), created);
        generation
    }

    pub(crate) fn remove(&self, module: &str) {
        self.state.modules.lock().remove(module);
    }

    pub(crate) fn module(&self, module: &str) -> Option<Module> {
        self.state.modules.lock().get(module).cloned()
    }

    /// Answers everything so, until told otherwise; code 0 is none.
    pub(crate) fn set_fault(&self, fault: Option<(u16, &'static str)>) {
        *self.state.fault.lock() = fault;
    }

    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.requests.lock())
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

type Answer = hyper::Response<Full<Bytes>>;

impl State {
    fn next_generation(&self) -> String {
        let mut generation = self.generation.lock();
        *generation += 1;
        generation.to_string()
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let if_match =
            head.headers.get("if-match").map(|v| format!(" if-match {}", v.to_str().unwrap()));
        let shown = format!("{} {}{}", head.method, head.uri, if_match.unwrap_or_default());
        self.requests.lock().push(shown);
        if let Some((status, name)) = *self.fault.lock() {
            return refusal(status, name);
        }
        let token = head.headers.get("authorization").and_then(|value| value.to_str().ok());
        if !token.is_some_and(|token| self.is_good(token)) {
            return refusal(401, "IotHubUnauthorizedAccess");
        }
        let body = read_body(body, 100_000, Duration::from_secs(5)).await.unwrap();
        match Route::parse(&head.method, head.uri.path()) {
            Ok(Route::ListModules(_)) => {
                let modules = self.modules.lock();
                json_answer(
                    &modules.iter().map(|(id, module)| module.to_json(id)).collect::<Vec<_>>(),
                )
            }
            Ok(Route::GetModule(_, id)) => self.show(id.as_str()),
            Ok(Route::DeleteModule(_, id)) => match self.modules.lock().remove(id.as_str()) {
                Some(_) => status_answer(204),
                None => refusal(404, "ModuleNotFound"),
            },
            Ok(Route::PutModule(device, id)) => {
                let write = ModuleWrite::read(&device, &id, &body).unwrap();
                self.put(id.as_str(), write, head.headers.contains_key("if-match"))
            }
            _ => panic!("{} {}", head.method, head.uri),
        }
    }

    fn put(&self, id: &str, write: ModuleWrite, is_update: bool) -> Answer {
        let exists = self.modules.lock().contains_key(id);
        match (exists, is_update) {
            (true, false) => return refusal(409, "ModuleAlreadyExistsOnDevice"),
            (false, true) => return refusal(404, "ModuleNotFound"),
            _ => {}
        }
        {
            let mut modules = self.modules.lock();
            let module = modules.entry(id.to_owned()).or_insert_with(|| Module {
                generation: self.next_generation(),
                managed_by: None,
                primary_key: None,
            });
            // Like the hub: what is left out is gone.
            module.managed_by = write.managed_by;
            if let AuthenticationWrite::Keys(keys) = write.authentication {
                module.primary_key = Some(keys.primary);
            }
        }
        self.show(id)
    }

    fn show(&self, id: &str) -> Answer {
        match self.modules.lock().get(id) {
            Some(module) => json_answer(&module.to_json(id)),
            None => refusal(404, "ModuleNotFound"),
        }
    }

    fn is_good(&self, token: &str) -> bool {
        let Ok(token) = SasToken::parse(token) else { return false };
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.key);
        let text = token.string_to_sign();
        let is_signed = aws_lc_rs::hmac::verify(&key, text.as_bytes(), token.signature()).is_ok();
        let lives = token.expires_at() > Clock::system().wall();
        is_signed && lives && token.resource_raw() == format!("{NAME}%2Fdevices%2F{DEVICE}")
    }
}

impl Module {
    fn to_json(&self, id: &str) -> Value {
        let device: DeviceId = DEVICE.parse().unwrap();
        json!({
            "moduleId": id, "deviceId": device.as_str(), "generationId": self.generation,
            "managedBy": self.managed_by, "etag": "x", "connectionState": "Disconnected",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": self.primary_key}},
        })
    }
}

fn json_answer(body: &impl serde::Serialize) -> Answer {
    hyper::Response::new(full(serde_json::to_vec(body).unwrap()))
}

fn status_answer(status: u16) -> Answer {
    let mut answer = hyper::Response::new(full(""));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn refusal(status: u16, name: &str) -> Answer {
    let mut answer =
        hyper::Response::new(full(json!({"Message": format!("ErrorCode:{name};no")}).to_string()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    let value = host::http::HeaderValue::from_str(name).unwrap();
    answer.headers_mut().insert("iothub-errorcode", value);
    answer
}
