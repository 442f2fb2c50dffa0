// Bytes of rhea's codec (Node's SDKs), and what it makes of ours.
//
// From the repository's root, with target/node as tests/README.md makes it:
//
//     node crates/amqp/tests/codec/clients/rhea.js write \
//         > crates/amqp/tests/codec/clients/rhea.txt
//     node crates/amqp/tests/codec/clients/rhea.js check \
//         crates/amqp/tests/codec/clients/ours.txt
//
// The cases' content is that of ../clients.rs.

'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');

const modules = path.join(process.cwd(), 'target/node/node_modules/rhea');
const frames = require(path.join(modules, 'lib/frames.js'));
const message = require(path.join(modules, 'lib/message.js'));
const terminus = require(path.join(modules, 'lib/terminus.js'));
const types = require(path.join(modules, 'lib/types.js'));
require(path.join(modules, 'lib/link.js'));
require(path.join(modules, 'lib/sasl.js'));

const UUID = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
const FILTER = 'apache.org:selector-filter:string';
const OFFSET = "amqp.annotation.x-opt-offset > '@latest'";
const LONG = 'x'.repeat(300);

const error = (condition, description, info) =>
  ({ condition, description, info });

const CASES = {
  open: ['open', {
    container_id: 'c1', hostname: 'h.example', max_frame_size: 65536, channel_max: 65535,
    idle_time_out: 240000, properties: { product: 'test' },
  }],
  begin: ['begin', {
    next_outgoing_id: 0, incoming_window: 65536, outgoing_window: 65536, handle_max: 4294967295,
  }],
  flow: ['flow', {
    next_incoming_id: 1, incoming_window: 65535, next_outgoing_id: 2, outgoing_window: 65536,
    handle: 0, delivery_count: 0, link_credit: 300,
  }],
  transfer: ['transfer', {
    handle: 0, delivery_id: 300, delivery_tag: Buffer.from([0, 1]), message_format: 0,
    settled: false,
  }],
  accepted: ['disposition', {
    role: true, first: 1, last: 1, settled: true, state: message.accepted().described(),
  }],
  detach: ['detach', { handle: 3, closed: true, error: error('amqp:link:stolen', 'gone') }],
  end: ['end', {}],
  close: ['close', {}],
  init: ['sasl_init', {
    mechanism: 'PLAIN', initial_response: Buffer.from('\0u\0p'), hostname: 'h.example',
  }],
  attach_events: ['attach', () => {
    const source = terminus.source({
      address: 'amqps://h/e/ConsumerGroups/$Default/Partitions/0',
    });
    source.filter = { [FILTER]: types.wrap_described(OFFSET, FILTER) };
    const target = terminus.target({ address: 't1' });
    return {
      name: 'link-1', handle: 1, role: true, snd_settle_mode: 0, rcv_settle_mode: 0,
      source: source.described(), target: target.described(),
      max_message_size: 1048576,
      desired_capabilities: 'com.microsoft:enable-receiver-runtime-metric',
      properties: { 'com.microsoft:epoch': types.wrap_long(300) },
    };
  }],
};

const TELEMETRY = {
  durable: true,
  message_id: 'm1',
  to: '/devices/d/messages/events',
  correlation_id: UUID,
  content_type: 'application/json',
  content_encoding: 'utf-8',
  message_annotations: { 'dt-subject': 's' },
  application_properties: { a: 'b', long: LONG },
};

const PUT_TOKEN = {
  message_id: 'm2',
  to: '$cbs',
  reply_to: 'cbs',
  application_properties: { operation: 'put-token' },
  body: 'SharedAccessSignature sr=h',
};

function frame(name) {
  const [kind, content] = CASES[name];
  const performative = frames[kind](typeof content === 'function' ? content() : content);
  const described = performative.described();
  return kind === 'sasl_init'
    ? frames.sasl_frame(described)
    : frames.amqp_frame(0, described, name === 'transfer' ? Buffer.from('abc') : undefined);
}

function telemetry() {
  return Object.assign({}, TELEMETRY, { body: message.data_section(Buffer.from('{}')) });
}

function write() {
  for (const name of Object.keys(CASES)) {
    console.log('rhea', name, frames.write_frame(frame(name)).toString('hex'));
  }
  console.log('rhea', 'telemetry', message.encode(telemetry()).toString('hex'));
  console.log('rhea', 'put_token', message.encode(PUT_TOKEN).toString('hex'));
}

function check(file) {
  const ours = {};
  for (const line of fs.readFileSync(file, 'utf8').trim().split('\n')) {
    const [, name, encoded] = line.split(' ');
    ours[name] = Buffer.from(encoded, 'hex');
  }
  for (const name of Object.keys(CASES)) {
    const read = frames.read_frame(ours[name]);
    const theirs = frames.read_frame(frames.write_frame(frame(name)));
    assert.strictEqual(read.type, theirs.type, name);
    assert.strictEqual(read.size, ours[name].length, name);
    assert.deepStrictEqual(read.payload, theirs.payload, name);
    for (const [field, content] of Object.entries(CASES[name][1])) {
      if (typeof content === 'object' || typeof content === 'function') continue;
      assert.deepStrictEqual(read.performative[field], content, `${name}.${field}`);
    }
  }
  const attach = frames.read_frame(ours.attach_events).performative;
  const source = terminus.unwrap(attach.source);
  assert.strictEqual(source.address, 'amqps://h/e/ConsumerGroups/$Default/Partitions/0');
  assert.deepStrictEqual(attach.properties, { 'com.microsoft:epoch': 300 });
  const detach = frames.read_frame(ours.detach).performative;
  assert.strictEqual(detach.error.condition, 'amqp:link:stolen');

  const read = message.decode(ours.telemetry);
  for (const [field, content] of Object.entries(TELEMETRY)) {
    assert.deepStrictEqual(read[field], content, field);
  }
  assert.deepStrictEqual(read.body.content, Buffer.from('{}'));
  const token = message.decode(ours.put_token);
  for (const [field, content] of Object.entries(PUT_TOKEN)) {
    assert.deepStrictEqual(token[field], content, field);
  }
  console.log('rhea reads all of', Object.keys(CASES).length + 2);
}

if (process.argv[2] === 'write') {
  write();
} else {
  check(process.argv[3]);
}
