//! Parser of the control protocol: any bytes in any chunks; no error and no Debug output contains a token.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use regauth_shared::Request;
use regauth_shared::frame::{Answer, MAX_LINE};
use serde_json::Value;
use tokio_util::codec::{Decoder, LinesCodec};

const TOKEN: &str = "s3ntinel-of-the-fuzzer";

fuzz_target!(|bytes: &[u8]| {
    let mut codec = LinesCodec::new_with_max_length(MAX_LINE);
    let mut buffer = BytesMut::new();
    for chunk in bytes.chunks(64) {
        buffer.extend_from_slice(chunk);
        while let Ok(Some(line)) = codec.decode(&mut buffer) {
            parse(&line);
        }
    }
    if let Ok(Some(line)) = codec.decode_eof(&mut buffer) {
        parse(&line);
    }
});

fn parse(line: &str) {
    match Request::from_line(line) {
        Ok(request) => {
            let again = Request::from_line(&request.to_line().unwrap()).unwrap();
            assert_eq!(again.to_line().unwrap(), request.to_line().unwrap());
        }
        Err(error) => assert!(serde_json::to_string(&Answer::<()>::Err(error)).is_ok()),
    }
    // Again with a known token in its own field, and in fields where a user could put it by mistake.
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return;
    };
    fields.insert("v".to_owned(), 1.into());
    for name in ["token", "passphrase", "name", "verify"] {
        for value in [
            Value::from(TOKEN),
            vec![Value::from(TOKEN)].into(),
            format!("{TOKEN}\n!").into(),
        ] {
            let mut fields = fields.clone();
            fields.insert(name.to_owned(), value);
            let request = Request::from_line(&Value::Object(fields).to_string());
            let output = match &request {
                Ok(request) if name == "token" || name == "passphrase" => format!("{request:?}"),
                Ok(_) => continue,
                Err(error) => format!("{error:?}{}", serde_json::to_string(error).unwrap()),
            };
            assert!(!output.contains(TOKEN), "{output}");
        }
    }
}
