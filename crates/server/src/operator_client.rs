//! An operator's way to a running arbiter, or to one that runs for the moment of the order.

use std::path::Path;
use std::time::Duration;

use portcullis_ledger::{Clocks, OrderRefused, SystemClocks};
use portcullis_protocol::wire::{OrderCall, OrderReply};
use portcullis_protocol::{Ordered, ReasonCode};
use portcullis_sdk::{Endpoint, Refusal, Token, order};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::config::ArbiterConfig;
use crate::host::{HostError, Hosted, socket_path};

/// How long the process that holds the directory may take to answer on its socket.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a holder that does not listen yet, or any more, is looked for again.
const LOOK: Duration = Duration::from_millis(50);

/// An order was not carried out, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The token names no operator.
    #[error(
        "the token names no operator of the configuration that the arbiter was started with; make one with \
         `portcullis keys operator NAME` and start the arbiter again"
    )]
    Stranger,
    /// The arbiter refused it.
    #[error("{code}: {detail}")]
    Refused {
        /// The code.
        code: ReasonCode,
        /// Why.
        detail: String,
    },
    /// Nobody holds the directory or listens in it for long enough.
    #[error("another process holds the data directory and does not answer on its socket")]
    Unanswered,
    /// The order was sent, and no answer came.
    #[error("no answer came ({detail}): the order may have been carried out; look before you repeat it")]
    Unknown {
        /// What came instead.
        detail: String,
    },
}

impl From<OrderRefused> for OrderError {
    fn from(refused: OrderRefused) -> Self {
        if refused == OrderRefused::Unanswered {
            return Self::Unknown { detail: ReasonCode::OverloadDeadline.message().to_owned() };
        }
        Self::Refused { code: crate::service::order_code(&refused), detail: refused.to_string() }
    }
}

/// Gives an order to the process that hosts the data directory. If there is none, this process hosts it until the
/// order is on record.
///
/// # Errors
/// [`OrderError`].
pub async fn give_order(
    config: &ArbiterConfig,
    token: &Token,
    call: OrderCall,
) -> Result<OrderReply, OrderError> {
    let socket = socket_path(&config.data)?;
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(hosted) = Hosted::try_start(config)? {
            let done = by_hosting(&hosted, token, call).await;
            hosted.stop().await;
            return done;
        }
        // Nothing was sent before the socket was there, so trying again gives no second order.
        if listens(&socket).await {
            return ask(socket, token, &call).await;
        }
        if Instant::now() >= end {
            return Err(OrderError::Unanswered);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn by_hosting(hosted: &Hosted, token: &Token, call: OrderCall) -> Result<OrderReply, OrderError> {
    let arbiter = &hosted.arbiter;
    let named = arbiter.operators().named(token.reveal(), SystemClocks.wall());
    let by = named.ok_or(OrderError::Stranger)?.clone();
    let ordered = Ordered { by, what: call.what, reason: call.reason };
    Ok(OrderReply { seq: arbiter.order(ordered).await? })
}

async fn listens(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}

async fn ask(socket: std::path::PathBuf, token: &Token, call: &OrderCall) -> Result<OrderReply, OrderError> {
    order(&Endpoint::Unix { path: socket }, token, call, PATIENCE).await.map_err(|refusal| {
        let (Refusal::Unavailable(_) | Refusal::Blocked(_)) = &refusal else {
            return OrderError::Unknown { detail: refusal.to_string() };
        };
        let detail = refusal.reason().detail.unwrap_or_else(|| refusal.code().message().to_owned());
        let code = refusal.code();
        // Each of them says that no answer came in time, not that nothing was done.
        let open = [ReasonCode::ArbiterUnreachable, ReasonCode::ArbiterTimeout, ReasonCode::OverloadDeadline];
        if code == ReasonCode::IdentityUnverified {
            OrderError::Stranger
        } else if open.contains(&code) {
            OrderError::Unknown { detail }
        } else {
            OrderError::Refused { code, detail }
        }
    })
}
