//! What a case expects of a connection: the next frame, a MESSAGE, a RECEIPT, the end.
//!
//! Not here: how octets travel (`wire`). Invariant: what was not expected fails the test with what
//! came instead.

use super::wire::{End, Frame, Heard, Wire};

impl Wire {
    /// The next frame; beats are passed over.
    pub(crate) async fn frame(&mut self) -> Frame {
        loop {
            match self.next().await {
                Heard::Frame(frame) => return frame,
                Heard::Beat => {}
                Heard::End(end) => panic!("a frame was awaited, and there came {end:?}"),
            }
        }
    }

    /// The next frame, which has this command.
    pub(crate) async fn expect(&mut self, command: &str) -> Frame {
        let frame = self.frame().await;
        assert_eq!(frame.command, command, "{frame:?}");
        frame
    }

    /// The next MESSAGE, which has this body.
    pub(crate) async fn expect_message(&mut self, body: &str) -> Frame {
        let frame = self.expect("MESSAGE").await;
        assert_eq!(frame.text(), body, "{frame:?}");
        frame
    }

    /// The next frame is the RECEIPT of this name.
    pub(crate) async fn expect_receipt(&mut self, id: &str) -> Frame {
        let frame = self.expect("RECEIPT").await;
        assert_eq!(frame.header("receipt-id"), id, "{frame:?}");
        frame
    }

    /// Nothing more comes but the end.
    pub(crate) async fn expect_end(&mut self) -> End {
        loop {
            match self.next().await {
                Heard::Frame(frame) => panic!("the end was awaited, and there came {frame:?}"),
                Heard::Beat => {}
                Heard::End(end) => return end,
            }
        }
    }

    /// Sends a frame with a receipt, and waits for the RECEIPT, which is the next frame.
    pub(crate) async fn settled(&mut self, frame: impl AsRef<[u8]>) -> Frame {
        let id = self.ask(frame).await;
        self.expect_receipt(&id).await
    }

    /// Sends a frame with a receipt, and gives its name.
    pub(crate) async fn ask(&mut self, frame: impl AsRef<[u8]>) -> String {
        self.receipts += 1;
        let id = format!("r{}", self.receipts);
        let frame = frame.as_ref();
        let command = frame.iter().position(|octet| *octet == b'\n').unwrap();
        let line = format!("\nreceipt:{id}");
        let octets = [&frame[..command], line.as_bytes(), &frame[command..]].concat();
        self.send(octets).await;
        id
    }
}
