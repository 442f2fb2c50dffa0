//! The command line of the operator's commands.

use clap::{CommandFactory, Parser};

use crate::Arguments;

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn commands_are_taken_as_documented() {
    for line in [
        "device create edge-1 --edge",
        "device create leaf-1 --parent edge-1 --status disabled",
        "device show edge-1 --show-keys -o json",
        "device -o ndjson list",
        "device list --login HostName=h;SharedAccessKeyName=p;SharedAccessKey=a2V5 --ca ca.pem",
        "device delete edge-1 --yes",
        "device update edge-1 --status disabled --reason stolen",
        "device connection-string edge-1 --module $edgeHub --secondary",
        "module create edge-1 m1",
        "module list edge-1 -o json",
        "twin show edge-1 --module $edgeAgent",
        "twin update edge-1 --desired {\"a\":1} --tags {\"site\":\"x\"}",
        "twin replace edge-1 --file twin.json --yes",
        "method invoke edge-1 --module m1 --name reset --payload {\"x\":1} --timeout 10 --connect-timeout 5",
        "c2d send edge-1 --body hi --property k=v --ack full --expires 10m",
        "c2d purge edge-1 --yes",
        "deployment apply edge-1 --manifest deployment.json",
        "monitor --device edge-1 --from start --partition 0 --count 5 --timeout 10 -o ndjson --all",
        "statistics -o json",
        "consumer-group list",
        "consumer-group create alerts",
        "consumer-group delete alerts",
    ] {
        let line = ["farshore"].into_iter().chain(line.split(' '));
        if let Err(error) = Arguments::try_parse_from(line) {
            panic!("{error}");
        }
    }
    for line in [
        "device create",
        "device create edge/1",
        "device create edge-1 --status off",
        "twin update edge-1 --file a --desired {}",
        "c2d send edge-1",
        "c2d send edge-1 --body hi --property kv",
        "deployment apply edge-1",
        "monitor --count 0",
        "monitor --from now",
    ] {
        let line = ["farshore"].into_iter().chain(line.split(' '));
        assert!(Arguments::try_parse_from(line).is_err());
    }
}
