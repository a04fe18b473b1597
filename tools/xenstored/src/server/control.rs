//! The `CONTROL` request: what an administrator may ask of the running server.
use super::{Request, Server};
use xenstore::XsError;

const HELP: &str = "check\nhelp\nmemreport\nprint <text>\nquota";

impl Server {
    pub(super) fn control(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        if !r.caller.privileged() {
            return Err(XsError::EACCES);
        }
        let args: Vec<_> = r.args.iter().map(|a| String::from_utf8_lossy(a)).collect();
        let words: Vec<&str> = args.iter().map(|a| a.as_ref()).collect();
        let answer = match words.as_slice() {
            [] | ["help"] => HELP.to_string(),
            ["check"] => self.tree.check().map_or_else(|e| e, |()| "OK".to_string()),
            ["print", text] => {
                eprintln!("xenstored: {}", text.escape_debug());
                "OK".to_string()
            }
            ["memreport"] => self.report(),
            ["quota"] => format!("{:#?}", self.limits),
            ["check" | "help" | "memreport" | "print" | "quota", ..] => {
                return Err(XsError::EINVAL);
            }
            _ => return Err(XsError::ENOSYS),
        };
        let mut reply = answer.into_bytes();
        reply.push(0);
        Ok(reply)
    }

    fn report(&self) -> String {
        let transactions: usize = self.conns.values().map(|c| c.transactions.len()).sum();
        format!(
            "nodes {}\nconnections {}\ndomains {}\nwatches {}\ntransactions {transactions}",
            self.tree.len(),
            self.conns.len(),
            self.domains.len(),
            self.watches.len(),
        )
    }
}
