//! Waiting for a state, not for a time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{sleep, timeout};

/// Nothing here takes this long unless it hangs; a busy machine is slow, but not that slow.
pub const HANG: Duration = Duration::from_secs(150);

/// How long a look waits for the next one: a bound on load, not on anything that is asserted.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something to see.
///
/// # Errors
/// When the look fails, or after [`HANG`], naming `what` was waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            sleep(PAUSE).await;
        }
    };
    match timeout(HANG, looking).await {
        Ok(found) => found,
        Err(_) => bail!("waited in vain for this: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_until_it_sees_and_gives_up_in_words() {
        let mut looks = 0;
        let seen = until("three looks", async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(seen.await.unwrap(), 3);
        let never = until("a miracle", async || Ok(None::<()>)).await;
        assert!(never.unwrap_err().to_string().contains("a miracle"));
    }
}
