//! Direct methods, as back ends call them.

use std::future::Future;

use model::method::{MethodRequest, MethodResponse};
use model::{Fault, IdentityId};

/// Calls direct methods.
pub trait MethodBackend: Send + Sync + 'static {
    /// Calls a method and waits for the answer within the request's time-outs.
    fn invoke(
        &self,
        id: &IdentityId,
        request: MethodRequest,
    ) -> impl Future<Output = Result<MethodResponse, Fault>> + Send;
}
