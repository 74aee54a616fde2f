//! The provider's calls, and gRPC as far as they need it, over HTTP/2.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

use super::file::{self, Change, Files};
use super::knobs::Knobs;
use super::schema;
use super::value::{Object, ValueError};
use super::wire::{
    ApplyResponse, ChangeRequest, ConfigureRequest, Diagnostic, DiagnosticsResponse, DynamicValue,
    Empty, ImportRequest, ImportResponse, Imported, PlanResponse, TypedRequest, UpgradeRequest,
    ValidateProviderRequest, ValidateProviderResponse, ValueResponse,
};

/// A gRPC message begins with a flag for compression and its length in four bytes.
const FRAME_HEADER: usize = 5;

/// A call that the provider answers. Terraform also tries streams and calls of
/// later protocol versions, and copes with their being unimplemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    GetProviderSchema,
    ValidateProviderConfig,
    ConfigureProvider,
    ValidateFile,
    UpgradeResourceState,
    ReadResource,
    ReadDataSource,
    PlanResourceChange,
    ApplyResourceChange,
    ImportResourceState,
    StopProvider,
    Shutdown,
}

impl Method {
    fn at(path: &str) -> Option<Self> {
        if path == "/plugin.GRPCController/Shutdown" {
            return Some(Self::Shutdown);
        }
        match path.strip_prefix("/tfplugin6.Provider/")? {
            "GetProviderSchema" => Some(Self::GetProviderSchema),
            "ValidateProviderConfig" => Some(Self::ValidateProviderConfig),
            "ConfigureProvider" => Some(Self::ConfigureProvider),
            "ValidateResourceConfig" | "ValidateDataResourceConfig" => Some(Self::ValidateFile),
            "UpgradeResourceState" => Some(Self::UpgradeResourceState),
            "ReadResource" => Some(Self::ReadResource),
            "ReadDataSource" => Some(Self::ReadDataSource),
            "PlanResourceChange" => Some(Self::PlanResourceChange),
            "ApplyResourceChange" => Some(Self::ApplyResourceChange),
            "ImportResourceState" => Some(Self::ImportResourceState),
            "StopProvider" => Some(Self::StopProvider),
            _ => None,
        }
    }
}

/// A call got no answer of its own kind.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The call is none of ours.
    #[error("not implemented")]
    Unimplemented,
    /// The frame round the message is cut off, or compressed.
    #[error("the request is no uncompressed gRPC message")]
    Frame,
    /// The message is not the call's.
    #[error("the request cannot be decoded")]
    Message(#[from] prost::DecodeError),
    /// A value in the message is not what the schema promises.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl Refusal {
    /// The status code, as gRPC numbers them: UNIMPLEMENTED or `INVALID_ARGUMENT`.
    fn code(&self) -> HeaderValue {
        match self {
            Self::Unimplemented => HeaderValue::from_static("12"),
            Self::Frame | Self::Message(_) | Self::Value(_) => HeaderValue::from_static("3"),
        }
    }
}

/// Whether the client has said that it will close the connection. It then does
/// so without ceremony, which is no failure.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Open,
    Announced,
}

/// Serves one connection until Terraform closes it.
pub(super) async fn serve<T>(connection: T) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let files = Arc::new(Files::new());
    let mut connection = h2::server::handshake(connection).await?;
    let mut ending = Ending::Open;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = match (accepted, ending) {
            (Ok(call), _) => call,
            (Err(_), Ending::Announced) => break,
            (Err(error), Ending::Open) => return Err(error),
        };
        if Method::at(request.uri().path()) == Some(Method::Shutdown) {
            ending = Ending::Announced;
        }
        let files = Arc::clone(&files);
        tokio::spawn(async move {
            if let Err(error) = call(&files, request, respond).await {
                eprintln!("localfs: a call ended early: {error}");
            }
        });
    }
    Ok(())
}

async fn call(
    files: &Files,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let outcome = match Method::at(request.uri().path()) {
        // Streams are answered at once: their bodies never end.
        None => Err(Refusal::Unimplemented),
        Some(method) => {
            let body = receive(request.into_body()).await?;
            match unframe(&body) {
                Ok(message) => answer(files, method, message).await,
                Err(refusal) => Err(refusal),
            }
        }
    };
    let mut head = Response::new(());
    let content_type = HeaderValue::from_static("application/grpc");
    head.headers_mut()
        .insert(http::header::CONTENT_TYPE, content_type);
    match outcome {
        Ok(message) => {
            let mut stream = respond.send_response(head, false)?;
            stream.send_data(frame(&message), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers)
        }
        Err(refusal) => {
            head.headers_mut().insert("grpc-status", refusal.code());
            if let Ok(message) = HeaderValue::from_str(&refusal.to_string()) {
                head.headers_mut().insert("grpc-message", message);
            }
            respond.send_response(head, true).map(drop)
        }
    }
}

async fn receive(mut body: RecvStream) -> Result<BytesMut, h2::Error> {
    let mut received = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
    }
    Ok(received)
}

/// The message in a unary request's body.
fn unframe(body: &[u8]) -> Result<&[u8], Refusal> {
    match body.split_at_checked(FRAME_HEADER) {
        Some((&[0, a, b, c, d], message))
            if usize::try_from(u32::from_be_bytes([a, b, c, d])) == Ok(message.len()) =>
        {
            Ok(message)
        }
        _ => Err(Refusal::Frame),
    }
}

fn frame(message: &[u8]) -> Bytes {
    // A message of 4 GiB cannot be framed; Terraform refuses one of 256 MiB already.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(FRAME_HEADER + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

async fn answer(files: &Files, method: Method, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    Ok(match method {
        Method::GetProviderSchema => schema::whole().encode_to_vec(),
        Method::ValidateProviderConfig => {
            let request = ValidateProviderRequest::decode(body)?;
            let block = Object::decode(request.config.as_ref())?.unwrap_or_default();
            let diagnostics = file::validate_provider(&block);
            ValidateProviderResponse { diagnostics }.encode_to_vec()
        }
        Method::ConfigureProvider => {
            let request = ConfigureRequest::decode(body)?;
            let block = Object::decode(request.config.as_ref())?.unwrap_or_default();
            let diagnostics = configure(files, &block).err().into_iter().collect();
            DiagnosticsResponse { diagnostics }.encode_to_vec()
        }
        Method::ValidateFile => {
            let request = TypedRequest::decode(body)?;
            let object = Object::decode(request.value.as_ref())?.unwrap_or_default();
            let diagnostics = file::validate(&object);
            DiagnosticsResponse { diagnostics }.encode_to_vec()
        }
        Method::UpgradeResourceState => {
            // The state's version has never changed: what is stored is handed back.
            let json = UpgradeRequest::decode(body)?
                .raw_state
                .unwrap_or_default()
                .json;
            let value = Some(DynamicValue {
                json,
                msgpack: Vec::new(),
            });
            ValueResponse {
                value,
                diagnostics: Vec::new(),
            }
            .encode_to_vec()
        }
        Method::ReadResource => read(files, TypedRequest::decode(body)?)
            .await?
            .encode_to_vec(),
        Method::ReadDataSource => look_up(files, TypedRequest::decode(body)?)
            .await?
            .encode_to_vec(),
        Method::PlanResourceChange => plan(files, ChangeRequest::decode(body)?)
            .await?
            .encode_to_vec(),
        Method::ApplyResourceChange => apply(files, ChangeRequest::decode(body)?)
            .await?
            .encode_to_vec(),
        Method::ImportResourceState => {
            let ImportRequest { type_name, id } = ImportRequest::decode(body)?;
            let state = Some(Object::encode(Some(&files.import(id)))?);
            let imported = vec![Imported { type_name, state }];
            ImportResponse {
                imported,
                diagnostics: Vec::new(),
            }
            .encode_to_vec()
        }
        Method::StopProvider => {
            files.stop();
            Empty {}.encode_to_vec()
        }
        // Terraform closes the connection next, and with it the process ends.
        Method::Shutdown => Empty {}.encode_to_vec(),
    })
}

fn configure(files: &Files, block: &Object) -> Result<(), Diagnostic> {
    let knobs = Knobs::read(|name| std::env::var(name).ok()).map_err(|error| {
        let detail = format!("{:#}", anyhow::Error::new(error));
        Diagnostic::error("The environment asks for something impossible", detail)
    })?;
    files.configure(block, knobs)
}

async fn read(files: &Files, request: TypedRequest) -> Result<ValueResponse, Refusal> {
    let Some(object) = Object::decode(request.value.as_ref())? else {
        return Ok(ValueResponse {
            value: request.value,
            diagnostics: Vec::new(),
        });
    };
    Ok(match files.read(object).await {
        Ok(found) => ValueResponse {
            value: Some(Object::encode(found.as_ref())?),
            diagnostics: Vec::new(),
        },
        Err(diagnostic) => ValueResponse {
            value: request.value,
            diagnostics: vec![diagnostic],
        },
    })
}

async fn look_up(files: &Files, request: TypedRequest) -> Result<ValueResponse, Refusal> {
    let object = Object::decode(request.value.as_ref())?.unwrap_or_default();
    Ok(match files.look_up(object).await {
        Ok(found) => ValueResponse {
            value: Some(Object::encode(Some(&found))?),
            diagnostics: Vec::new(),
        },
        Err(diagnostic) => ValueResponse {
            value: None,
            diagnostics: vec![diagnostic],
        },
    })
}

async fn plan(files: &Files, request: ChangeRequest) -> Result<PlanResponse, Refusal> {
    let prior = Object::decode(request.prior.as_ref())?;
    let Some(wanted) = Object::decode(request.wanted.as_ref())? else {
        return Ok(PlanResponse {
            planned: request.wanted,
            ..PlanResponse::default()
        });
    };
    Ok(match files.plan(prior.as_ref(), wanted).await {
        Ok(planned) => PlanResponse {
            planned: Some(Object::encode(Some(&planned.object))?),
            requires_replace: planned.requires_replace,
            diagnostics: Vec::new(),
        },
        Err(diagnostic) => PlanResponse {
            diagnostics: vec![diagnostic],
            ..PlanResponse::default()
        },
    })
}

async fn apply(files: &Files, request: ChangeRequest) -> Result<ApplyResponse, Refusal> {
    let prior = Object::decode(request.prior.as_ref())?;
    let change = match (prior, Object::decode(request.wanted.as_ref())?) {
        (None, Some(planned)) => Change::Create(planned),
        (Some(_), Some(planned)) => Change::Update(planned),
        (Some(prior), None) => Change::Delete(prior),
        (None, None) => {
            return Ok(ApplyResponse {
                state: request.wanted,
                diagnostics: Vec::new(),
            });
        }
    };
    Ok(match files.apply(change).await {
        Ok(object) => ApplyResponse {
            state: Some(Object::encode(object.as_ref())?),
            diagnostics: Vec::new(),
        },
        // Nothing was changed, so the state stays what it was.
        Err(diagnostic) => ApplyResponse {
            state: request.prior,
            diagnostics: vec![diagnostic],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_framed_and_unframed() {
        assert_eq!(unframe(&frame(b"hello")).unwrap(), b"hello");
        assert_eq!(unframe(&frame(b"")).unwrap(), b"");
    }

    #[test]
    fn a_frame_that_is_cut_off_or_compressed_is_refused() {
        let whole = frame(b"hello");
        for bad in [&b""[..], &whole[..4], &whole[..8], b"\x01\0\0\0\x05hello"] {
            assert!(matches!(unframe(bad), Err(Refusal::Frame)), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_decoded_is_an_invalid_argument() {
        let files = Files::new();
        let refusal = answer(&files, Method::ReadResource, b"\xff\xff")
            .await
            .unwrap_err();
        assert_eq!(refusal.code(), "3");
    }

    #[tokio::test]
    async fn a_file_before_the_configuration_is_a_diagnostic() {
        let files = Files::new();
        let value = Some(Object::encode(Some(&Object::with_attributes(["path"]))).unwrap());
        let request = TypedRequest {
            type_name: schema::TYPE_NAME.to_owned(),
            value,
        };
        let response = read(&files, request).await.unwrap();
        assert_eq!(
            response.diagnostics[0].summary,
            "The provider is not configured"
        );
    }
}
