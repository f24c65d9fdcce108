//! From octets to frames, incrementally.
//!
//! Not here: the parts of a head (`head`), what to do with a failure (`session`). Invariant: every
//! octet is looked at a bounded number of times, however the input is cut, and what is buffered is
//! within the limits as long as [`Decoder::next`] is called between pushes until it gives `None`.

use std::fmt;

use bytes::Bytes;

use super::error::DecodeError;
use super::frame::Frame;
use super::head::{self, Head};
use super::limits::Limits;
use super::version::Version;

/// The longest command line, in octets without its LF. The longest command has 11.
pub const COMMAND_BYTES_MAX: usize = 32;

/// An incremental decoder. Push octets, then take frames until there is none.
///
/// ```
/// use stompbox::stomp::{Command, Decoder, Limits, Version};
///
/// let mut decoder = Decoder::new(Limits::default());
/// decoder.push(b"SEND\ndestination:/topic/a\n\nhel");
/// assert_eq!(decoder.next(Version::V1_2), Ok(None));
/// decoder.push(b"lo\0");
/// let frame = decoder.next(Version::V1_2).unwrap().unwrap();
/// assert_eq!(frame.command, Command::Send);
/// assert_eq!(frame.headers.get("destination"), Some("/topic/a"));
/// assert_eq!(&frame.body[..], b"hello");
/// ```
///
/// Its `Debug` shows no octets: there may be secrets in them.
pub struct Decoder {
    limits: Limits,
    authenticated: bool,
    buffer: Vec<u8>,
    /// Where in the buffer the current frame begins; what is before is spent.
    start: usize,
    stage: Stage,
    /// Boxed, because an idle connection should not pay for it.
    failed: Option<Box<Failure>>,
    /// EOLs seen between frames.
    beats: u64,
    /// Octets looked at while searching: the tests hold it to be linear.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

/// How a decoder failed, and which receipt the failed frame had asked for.
type Failure = (DecodeError, Option<Box<str>>);

/// How far the current frame is; positions count from its beginning.
#[derive(Debug)]
enum Stage {
    /// Nothing of it is there.
    Between,
    /// Looking for the blank line.
    Head {
        /// Everything before was searched.
        scanned: usize,
        /// Where the current line begins.
        line: usize,
        /// How many lines are complete.
        lines: usize,
    },
    /// Looking for the end of the body.
    Body {
        head: Head,
        /// Where the body begins.
        body: usize,
        /// Everything before was searched for NUL.
        scanned: usize,
    },
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("buffered", &self.buffered())
            .field("stage", &self.stage)
            .field("failed", &self.failed.as_ref().map(|failure| &failure.0))
            .finish_non_exhaustive()
    }
}

const HEAD: Stage = Stage::Head {
    scanned: 0,
    line: 0,
    lines: 0,
};

impl Decoder {
    /// A decoder of a client that is not authenticated yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            authenticated: false,
            buffer: Vec::new(),
            start: 0,
            stage: Stage::Between,
            failed: None,
            beats: 0,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// From the next frame on the larger limit of the head holds.
    pub fn set_authenticated(&mut self) {
        self.authenticated = true;
    }

    /// Adds octets of the client. After a failure they are dropped.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.start > 0 {
            // At most once per frame that was taken, and only what came together with its end.
            self.buffer.drain(..self.start);
            self.start = 0;
            self.shrink();
        }
        self.buffer.extend_from_slice(octets);
    }

    /// The next frame, in the version that was negotiated (before that, 1.2, whose line ends
    /// include those of the others). `None` when more octets are needed.
    ///
    /// # Errors
    /// The first thing that is wrong; afterwards always the same.
    pub fn next(&mut self, version: Version) -> Result<Option<Frame>, DecodeError> {
        if let Some(failure) = &self.failed {
            return Err(failure.0.clone());
        }
        let outcome = self.advance(version);
        match &outcome {
            Ok(Some(_)) => {}
            Ok(None) => {
                if self.start == self.buffer.len() {
                    // An idle decoder keeps nothing.
                    self.buffer = Vec::new();
                    self.start = 0;
                }
            }
            Err(error) => {
                let error = error.clone();
                let receipt = self.receipt_amid_frame(version);
                self.failed = Some(Box::new((error, receipt)));
                self.buffer = Vec::new();
                self.start = 0;
            }
        }
        outcome
    }

    /// Octets that are pushed and not yet part of a frame that was taken.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether a part of a frame is there. EOLs that are still to be skipped are none.
    #[must_use]
    pub fn is_amid_frame(&self) -> bool {
        !matches!(self.stage, Stage::Between)
    }

    /// How many EOLs came between frames since the beginning. Each is a heart-beat.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats
    }

    /// `receipt` of the frame that is incomplete or wrong, as far as it is there: so that an ERROR
    /// can name it.
    #[must_use]
    pub fn receipt_amid_frame(&self, version: Version) -> Option<Box<str>> {
        if let Some(failure) = &self.failed {
            return failure.1.clone();
        }
        match &self.stage {
            Stage::Between => None,
            Stage::Head { line, .. } => {
                head::receipt(&self.buffer[self.start..self.start + line], version)
            }
            Stage::Body { head, .. } => head.headers.get("receipt").map(Into::into),
        }
    }

    fn advance(&mut self, version: Version) -> Result<Option<Frame>, DecodeError> {
        if matches!(self.stage, Stage::Between) && self.skip_beats() {
            self.stage = HEAD;
        }
        if matches!(self.stage, Stage::Head { .. }) && !self.find_head(version)? {
            return Ok(None);
        }
        self.find_body()
    }

    /// Skips EOLs between frames. Returns whether a frame begins.
    fn skip_beats(&mut self) -> bool {
        loop {
            match self.buffer[self.start..] {
                [b'\n', ..] => self.start += 1,
                [b'\r', b'\n', ..] => self.start += 2,
                // The LF may still be on its way.
                [] | [b'\r'] => return false,
                [_, ..] => return true,
            }
            self.beats += 1;
        }
    }

    /// Looks for the blank line. Returns whether the stage is the body now.
    fn find_head(&mut self, version: Version) -> Result<bool, DecodeError> {
        let Stage::Head {
            mut scanned,
            mut line,
            mut lines,
        } = self.stage
        else {
            return Ok(false);
        };
        let frame = &self.buffer[self.start..];
        loop {
            // Also for a failure: the lines before this one may name a receipt.
            self.stage = Stage::Head {
                scanned,
                line,
                lines,
            };
            let found = memchr::memchr2(b'\n', b'\0', &frame[scanned..]).map(|at| at + scanned);
            let end = found.unwrap_or(frame.len());
            #[cfg(test)]
            {
                self.looked_at += end - scanned + 1;
            }
            self.check_head(
                line,
                lines,
                end + usize::from(found.is_some()),
                found.is_some(),
            )?;
            let Some(end) = found else {
                self.stage = Stage::Head {
                    scanned: frame.len(),
                    line,
                    lines,
                };
                return Ok(false);
            };
            if frame[end] == b'\0' {
                return Err(DecodeError::NoBlankLine);
            }
            let blank = match &frame[line..end] {
                [] => true,
                [b'\r'] => version == Version::V1_2,
                _ => false,
            };
            scanned = end + 1;
            if blank {
                let head = head::parse(&frame[..line], lines, version)?;
                self.begin_body(head, scanned)?;
                return Ok(true);
            }
            line = scanned;
            lines += 1;
            if lines > self.limits.headers_max() + 1 {
                let max = self.limits.headers_max();
                return Err(DecodeError::TooManyHeaders { max });
            }
        }
    }

    /// Checks what is there of a head against its limits: `seen` octets in all, the last line
    /// beginning at `line`, with its end among them if `ended`. Of two limits that are crossed the
    /// one crossed first counts, so that the answer does not depend on how the input was cut.
    fn check_head(
        &self,
        line: usize,
        lines: usize,
        seen: usize,
        ended: bool,
    ) -> Result<(), DecodeError> {
        let (line_max, line_error) = if lines == 0 {
            let max = COMMAND_BYTES_MAX;
            (max, DecodeError::CommandTooLong { max })
        } else {
            let max = self.limits.header_bytes_max();
            (max, DecodeError::HeaderTooLong { max })
        };
        let head_max = if self.authenticated {
            self.limits.head_bytes_max()
        } else {
            self.limits.head_bytes_unauthenticated_max()
        };
        let line_crossed = seen - usize::from(ended) > line + line_max;
        let head_crossed = seen > head_max;
        if line_crossed && (!head_crossed || line + line_max <= head_max) {
            return Err(line_error);
        }
        if head_crossed {
            return Err(DecodeError::HeadTooLong { max: head_max });
        }
        Ok(())
    }

    /// The head is complete; what it says about the body is checked before anything is awaited.
    fn begin_body(&mut self, head: Head, body: usize) -> Result<(), DecodeError> {
        let max = self.limits.body_bytes_max();
        let length = head.length.unwrap_or(0);
        let command = head.command;
        self.stage = Stage::Body {
            head,
            body,
            scanned: body,
        };
        if length > 0 && !command.may_have_body() {
            return Err(DecodeError::BodyNotAllowed(command));
        }
        if length > max {
            return Err(DecodeError::BodyTooLong { max });
        }
        Ok(())
    }

    /// Looks for the end of the body, and takes the frame.
    fn find_body(&mut self) -> Result<Option<Frame>, DecodeError> {
        let max = self.limits.body_bytes_max();
        let Stage::Body {
            head,
            body,
            scanned,
        } = &mut self.stage
        else {
            return Ok(None);
        };
        let frame = &self.buffer[self.start..];
        let end = if let Some(length) = head.length {
            let end = *body + length;
            match frame.get(end) {
                None => return Ok(None),
                Some(b'\0') => end,
                Some(_) => return Err(DecodeError::MissingNul),
            }
        } else {
            let found = memchr::memchr(b'\0', &frame[*scanned..]).map(|at| at + *scanned);
            let end = found.unwrap_or(frame.len());
            #[cfg(test)]
            {
                self.looked_at += end - *scanned + 1;
            }
            if end > *body && !head.command.may_have_body() {
                return Err(DecodeError::BodyNotAllowed(head.command));
            }
            if end - *body > max {
                return Err(DecodeError::BodyTooLong { max });
            }
            *scanned = end;
            if found.is_none() {
                return Ok(None);
            }
            end
        };
        // A copy, so that a small body that is kept for long does not keep the whole buffer.
        let octets = Bytes::copy_from_slice(&frame[*body..end]);
        let frame = Frame {
            command: head.command,
            headers: std::mem::take(&mut head.headers),
            body: octets,
        };
        self.stage = Stage::Between;
        self.start += end + 1;
        Ok(Some(frame))
    }

    /// Gives memory back after a large frame.
    fn shrink(&mut self) {
        if self.buffer.len() < self.buffer.capacity() / 4 {
            self.buffer.shrink_to_fit();
        }
    }

    /// How many bytes of memory the buffer has taken: at most about twice what is buffered.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.buffer.capacity()
    }
}
