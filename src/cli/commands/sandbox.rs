//! `epid sandbox`.

#[cfg(not(feature = "sandbox"))]
mod absent {
    use crate::cli::Context;
    use crate::cli::args::Consent;
    use crate::cli::error::Error;
    use crate::cli::exit::Exit;

    fn no() -> Result<Exit, Error> {
        Err(Error::invalid("this epid was built without the sandbox"))
    }

    pub(crate) async fn serve(_: &Context, _: u16, _: f64, _: bool) -> Result<Exit, Error> {
        std::future::ready(no()).await
    }

    pub(crate) async fn reset(_: &Context, _: Consent) -> Result<Exit, Error> {
        std::future::ready(no()).await
    }
}

#[cfg(feature = "sandbox")]
pub(crate) use crate::cli::sandbox::{reset, serve};
#[cfg(not(feature = "sandbox"))]
pub(crate) use absent::{reset, serve};
