//! An operator's way to a running arbiter, or to one that runs for the moment of the order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_ledger::{Clocks, OrderRefused, SystemClocks};
use portcullis_protocol::wire::{OrderCall, OrderReply, ProofCall, ProofReply, ProofStep};
use portcullis_protocol::{BundleRef, OperatorId, Order, OrderReason, Ordered, ReasonCode};
use portcullis_sdk::{Endpoint, Refusal, Token, order, prove};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::config::ArbiterConfig;
use crate::host::{HostError, Hosted, socket_path};

/// How long the process that holds the directory may take to answer on its socket.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a holder that does not listen yet, or any more, is looked for again.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is asked how far a proof is.
const LOOK_AT_PROOF: Duration = Duration::from_millis(200);

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
    /// The bundle is not proved, and a proof is demanded.
    #[error(
        "{}: the bundle was not activated, and the one in force stays{}\n{}",
        ReasonCode::PolicyUnproved, lines(causes), ReasonCode::PolicyUnproved.remedy()
    )]
    NotProved {
        /// What is not proved, and why not.
        causes: Vec<String>,
    },
    /// No word of the proof came.
    #[error("the arbiter says nothing of the proof any more ({detail}); nothing was activated")]
    NoProof {
        /// What came instead.
        detail: String,
    },
    /// Somebody asked to stop.
    #[error("stopped before the bundle was proved; nothing was activated")]
    Stopped,
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
        Self::Refused { code: crate::refused::order_code(&refused), detail: refused.to_string() }
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
    let way = Way::find(config).await?;
    let done = way.order(token, call).await;
    way.leave().await;
    done
}

/// Has a bundle that lies ready proved by the arbiter, where that is demanded, and then made the one that decides. `watch`
/// is told how many statements are settled, of how many, and says whether to go on. Returns how the proof was.
///
/// # Errors
/// [`OrderError`].
pub async fn activate(
    config: &ArbiterConfig,
    token: &Token,
    (bundle, reason): (&BundleRef, OrderReason),
    watch: impl FnMut(u64, u64) -> bool,
) -> Result<(OrderReply, ProofReply), OrderError> {
    let way = Way::find(config).await?;
    let done = async {
        let proof = way.proved(token, bundle, watch).await?;
        let call = OrderCall { what: Order::ActivateBundle { bundle: bundle.clone() }, reason };
        Ok((way.order(token, call).await?, proof))
    };
    let done = done.await;
    way.leave().await;
    done
}

/// The way to the arbiter of a data directory.
enum Way {
    /// This process hosts it.
    Hosted(Box<Hosted>),
    /// Another does, and listens on this socket.
    Socket(PathBuf),
}

impl Way {
    async fn find(config: &ArbiterConfig) -> Result<Self, OrderError> {
        let socket = socket_path(&config.data)?;
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(hosted) = Hosted::try_start(config)? {
                return Ok(Self::Hosted(Box::new(hosted)));
            }
            // Nothing was sent before the socket was there, so trying again gives no second order.
            if listens(&socket).await {
                return Ok(Self::Socket(socket));
            }
            if Instant::now() >= end {
                return Err(OrderError::Unanswered);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn leave(self) {
        match self {
            Self::Hosted(hosted) => hosted.stop().await,
            Self::Socket(_) => {}
        }
    }

    async fn order(&self, token: &Token, call: OrderCall) -> Result<OrderReply, OrderError> {
        match self {
            Self::Hosted(hosted) => {
                let ordered = Ordered { by: operator(hosted, token)?, what: call.what, reason: call.reason };
                Ok(OrderReply { seq: hosted.arbiter.order(ordered).await? })
            }
            Self::Socket(socket) => ask(socket, token, &call).await,
        }
    }

    /// Waits until the arbiter has proved a bundle, or says that nobody demands it.
    async fn proved(
        &self,
        token: &Token,
        bundle: &BundleRef,
        mut watch: impl FnMut(u64, u64) -> bool,
    ) -> Result<ProofReply, OrderError> {
        let mut step = ProofStep::Begin;
        loop {
            match self.prove(token, &ProofCall { bundle: bundle.clone(), step }).await? {
                reply @ (ProofReply::NotDemanded | ProofReply::Proved { .. }) => return Ok(reply),
                ProofReply::NotProved { causes } => return Err(OrderError::NotProved { causes }),
                ProofReply::NotBegun => {
                    return Err(OrderError::NoProof { detail: "it began anew".to_owned() });
                }
                ProofReply::Running { done, total } if watch(done, total) => {
                    step = ProofStep::Look;
                    tokio::time::sleep(LOOK_AT_PROOF).await;
                }
                ProofReply::Running { .. } => {
                    // If it is not told, it stops by itself when nobody looks any more.
                    let call = ProofCall { bundle: bundle.clone(), step: ProofStep::Stop };
                    drop(self.prove(token, &call).await);
                    return Err(OrderError::Stopped);
                }
            }
        }
    }

    async fn prove(&self, token: &Token, call: &ProofCall) -> Result<ProofReply, OrderError> {
        match self {
            Self::Hosted(hosted) => {
                operator(hosted, token)?;
                Ok(hosted.arbiter.prove(call.clone()).await?)
            }
            Self::Socket(path) => {
                let endpoint = Endpoint::Unix { path: path.clone() };
                prove(&endpoint, token, call, PATIENCE).await.map_err(|refusal| {
                    let error = refused(&refusal);
                    if let OrderError::Unknown { detail } = error {
                        OrderError::NoProof { detail }
                    } else {
                        error
                    }
                })
            }
        }
    }
}

/// The operator that a token names.
fn operator(hosted: &Hosted, token: &Token) -> Result<OperatorId, OrderError> {
    let named = hosted.arbiter.operators().named(token.reveal(), SystemClocks.wall());
    named.cloned().ok_or(OrderError::Stranger)
}

async fn listens(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}

async fn ask(socket: &Path, token: &Token, call: &OrderCall) -> Result<OrderReply, OrderError> {
    let endpoint = Endpoint::Unix { path: socket.to_owned() };
    order(&endpoint, token, call, PATIENCE).await.map_err(|refusal| refused(&refusal))
}

fn refused(refusal: &Refusal) -> OrderError {
    let (Refusal::Unavailable(_) | Refusal::Blocked(_)) = refusal else {
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
}

/// Statements that are not proved, a line each.
fn lines(causes: &[String]) -> String {
    causes.iter().map(|cause| format!("\n  {cause}")).collect()
}
