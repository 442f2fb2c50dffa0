//! Texts of strangers: the examples that fuzzing keeps, and damaged ones.

#![expect(clippy::expect_used, reason = "these are tests")]

mod exercise;

const TOPICS: &[&str] = &[
    "\0devices/d/messages/events/%24.mid=1&$.ct=a%2Fb&novalue&empty=&k=a=b/",
    "\u{1}devices/d/modules/m/messages/events/?%24.on=out1",
    "\u{2}devices/a?b#c%26=+/messages/events/k=v",
    "\0$iothub/twin/GET/?$rid=1",
    "\0$iothub/twin/PATCH/properties/reported/?$rid=7&$version=12",
    "\0$iothub/methods/res/-1/?$rid=1f",
    "\0devices/d/messages/devicebound/%24.to=x",
    "\u{1}devices/d/modules/m/inputs/a%2Fb/%24.cdid=d",
    "\u{3}devices/a?b#c%26=+/modules/m$.on=x?/#",
    "\0$iothub/methods/POST/m/#",
    "\0h/d/?api-version=2021-04-12&DeviceClientType=a%2Fb&model-id=dtmi%3Ax%3B1&auth-chain=d%3Be",
    "\u{1}h/d/m/api-version=2017-06-30/DeviceClientType=Microsoft.Azure.Devices.Client/1.5.1",
];

const BODIES: &[&str] = &[
    r#"{"a":{"b":null,"c":[1,null,{"d":true}]},"$version":7,"n":-4503599627370496}"#,
    r#"{"tags":{"t":1},"properties":{"desired":{"a":{"b":"c"}},"reported":{"x":1}},"etag":"*"}"#,
    r#"{"methodName":"m","payload":{"x":[1.50]},"responseTimeoutInSeconds":"30","timeout":5}"#,
    r#"[{"body":"aGk=","base64Encoded":true,"properties":{"iothub-messageid":"1","iothub-app-k":2}}]"#,
];

/// Each example whole, cut at every byte, and with every byte turned into another one.
fn check(examples: &[&str], exercise: fn(&[u8])) {
    for example in examples {
        exercise(example.as_bytes());
        for index in 0..example.len() {
            exercise(&example.as_bytes()[..index]);
            for other in [b'%', b'&', b'/', b'#', b'+', b'$', b'"', b'{', b',', 0, 0x80] {
                let mut damaged = example.as_bytes().to_vec();
                damaged[index] = other;
                exercise(&damaged);
                damaged.insert(index, example.as_bytes()[index]);
                exercise(&damaged);
            }
        }
    }
}

#[test]
fn topics() {
    check(TOPICS, exercise::topics);
}

#[test]
fn bodies() {
    check(BODIES, exercise::bodies);
}
