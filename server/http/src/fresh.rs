//! Answers that are the same for all who ask within a moment: made once, however many ask, so that asking costs a
//! look.

use axum::body::Bytes;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How old an answer may be.
const OLD: Duration = Duration::from_millis(100);

/// The newest answer.
#[derive(Default)]
pub struct Fresh(Mutex<Option<(Instant, Bytes)>>);

impl Fresh {
    /// The newest answer, which `make` makes if there is none that is new enough. One at a time makes it, and others
    /// wait for it; an error is the answer of who made it alone.
    pub async fn get<E>(&self, make: impl Future<Output = Result<Bytes, E>>) -> Result<Bytes, E> {
        let mut held = self.0.lock().await;
        if let Some((_, answer)) = held.as_ref().filter(|(made, _)| made.elapsed() < OLD) {
            return Ok(answer.clone());
        }
        let answer = make.await?;
        *held = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn an_answer_is_made_once_for_all_who_ask_within_a_moment() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fresh = Fresh::default();
            assert_eq!(fresh.get(async { Err("no") }).await, Err("no"));
            let made = fresh.get(async { Ok::<_, Infallible>(Bytes::from_static(b"1")) }).await.unwrap();
            assert_eq!(made, "1");
            let again = fresh.get(async { Err::<Bytes, _>("it is not asked") }).await;
            assert_eq!(again.unwrap(), "1");
            *fresh.0.lock().await = Some((Instant::now() - 2 * OLD, made));
            let anew = fresh.get(async { Ok::<_, Infallible>(Bytes::from_static(b"2")) }).await.unwrap();
            assert_eq!(anew, "2");
        });
    }
}
