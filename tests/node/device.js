// The driver of the Node device SDK; see ../drivers/README.md.
'use strict';

const fs = require('fs');
const readline = require('readline');
const { Client, ModuleClient, Message } = require('azure-iot-device');

const TRANSPORTS = {
  'mqtt': () => require('azure-iot-device-mqtt').Mqtt,
  'mqtt-ws': () => require('azure-iot-device-mqtt').MqttWs,
  'amqp': () => require('azure-iot-device-amqp').Amqp,
  'amqp-ws': () => require('azure-iot-device-amqp').AmqpWs,
};

const clients = new Map();
let handles = 0;

function say(message) {
  process.stdout.write(JSON.stringify(message) + '\n');
}

function textConnection({ host, gateway, device, module, credential }) {
  return [
    `HostName=${host}`,
    `DeviceId=${device}`,
    ...(module ? [`ModuleId=${module}`] : []),
    ...(credential.key ? [`SharedAccessKey=${credential.key}`] : ['x509=true']),
    ...(gateway ? [`GatewayHostName=${gateway}`] : []),
  ].join(';');
}

function newClient(request) {
  const transport = TRANSPORTS[request.protocol]();
  // With a certificate, ModuleClient says by itself that it does not offer that.
  const kind = request.module ? ModuleClient : Client;
  return kind.fromConnectionString(textConnection(request), transport);
}

const CALLS = {
  async open(name, request) {
    const { credential } = request;
    const client = newClient(request);
    const options = { ca: request.ca };
    if (credential.certificate) {
      options.cert = fs.readFileSync(credential.certificate, 'utf8');
      options.key = fs.readFileSync(credential.private_key, 'utf8');
    }
    clients.set(name, { client, held: new Map(), twin: null });
    client.on('error', (error) => say({ event: 'error', client: name, message: String(error) }));
    client.on('disconnect', () => say({ event: 'connection', client: name, connected: false }));
    await client.setOptions(options);
    await client.open();
    say({ event: 'connection', client: name, connected: true });
  },

  async close(name) {
    const entry = clients.get(name);
    clients.delete(name);
    if (entry) await entry.client.close();
  },

  async send(name, request) {
    const { client } = clients.get(name);
    const message = toMessage(request.body, request);
    await (request.output ? client.sendOutputEvent(request.output, message) : client.sendEvent(message));
  },

  async send_batch(name, request) {
    const { client } = clients.get(name);
    const messages = request.bodies.map((body) => toMessage(body, {}));
    await (request.output
      ? client.sendOutputEventBatch(request.output, messages)
      : client.sendEventBatch(messages));
  },

  async listen(name, request) {
    const entry = clients.get(name);
    const { client } = entry;
    if (request.what === 'c2d') {
      client.on('message', (message) => received(name, 'c2d', null, message));
    } else if (request.what === 'input') {
      client.on('inputMessage', (input, message) => received(name, 'input', input, message));
    } else if (request.what === 'desired') {
      const twin = await theTwin(entry);
      twin.on('properties.desired', (patch) => {
        // Desired properties come as an object with the SDK's own functions in it.
        say({ event: 'desired', client: name, patch: JSON.parse(JSON.stringify(patch)) });
      });
    } else {
      const answer = (asked, response) => response.send(request.status, { got: asked.payload }, () => {});
      if (client.onMethod) client.onMethod(request.method, answer);
      else client.onDeviceMethod(request.method, answer);
    }
  },

  async settle(name, request) {
    const { client, held } = clients.get(name);
    const message = held.get(request.handle);
    await client[request.how](message);
    held.delete(request.handle);
  },

  async invoke(name, request) {
    const answer = await clients.get(name).client.invokeMethod(request.device, request.module, {
      methodName: request.method,
      payload: request.payload,
      responseTimeoutInSeconds: 20,
      connectTimeoutInSeconds: 20,
    });
    return answer.result || answer;
  },

  async twin(name) {
    const twin = await theTwin(clients.get(name), true);
    return JSON.parse(JSON.stringify({
      desired: twin.properties.desired,
      reported: twin.properties.reported,
    }));
  },

  async report(name, request) {
    const twin = await theTwin(clients.get(name));
    await new Promise((resolve, reject) => {
      twin.properties.reported.update(request.patch, (error) => (error ? reject(error) : resolve()));
    });
  },
};

async function theTwin(entry, fresh) {
  if (!entry.twin) entry.twin = await entry.client.getTwin();
  else if (fresh) await entry.twin.get();
  return entry.twin;
}

function toMessage(body, request) {
  const message = new Message(Buffer.from(body, 'base64'));
  if (request.message_id) message.messageId = request.message_id;
  if (request.correlation_id) message.correlationId = request.correlation_id;
  if (request.content_type) message.contentType = request.content_type;
  if (request.content_encoding) message.contentEncoding = request.content_encoding;
  for (const [key, value] of Object.entries(request.properties || {})) message.properties.add(key, value);
  return message;
}

function received(name, event, input, message) {
  const handle = ++handles;
  const entry = clients.get(name);
  if (!entry) return;
  entry.held.set(handle, message);
  const properties = {};
  for (let i = 0; i < message.properties.count(); i++) {
    const item = message.properties.getItem(i);
    properties[item.key] = item.value;
  }
  say({
    event, client: name, handle, input, properties,
    body: Buffer.from(message.getData()).toString('base64'),
    message_id: message.messageId, correlation_id: message.correlationId,
  });
}

async function answer(request) {
  const { id, call, client } = request;
  try {
    const ok = await CALLS[call](client, request);
    say({ id, ok: ok === undefined ? null : ok });
  } catch (error) {
    const kind = error.name || 'Error';
    say({ id, error: { kind, message: String(error.message || error) } });
  }
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => answer(JSON.parse(line)))
  .on('close', () => process.exit(0));
