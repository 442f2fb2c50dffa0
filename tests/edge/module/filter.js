// The same as filter.py, with the Node SDK.
'use strict';

// Also who is stopped while it still starts ends at once.
process.on('SIGTERM', () => process.exit(0));

const crypto = require('crypto');
const http = require('http');
const { ModuleClient, Message } = require('azure-iot-device');

const TRANSPORTS = {
  mqtt: () => require('azure-iot-device-mqtt').Mqtt,
  amqp: () => require('azure-iot-device-amqp').Amqp,
};
const DEFAULT = 25;
const state = { run: crypto.randomUUID(), threshold: null, passed: 0, dropped: 0 };

// Modules are started together: the edge hub may not be there yet.
async function connected() {
  for (;;) {
    try {
      const client = await ModuleClient.fromEnvironment(TRANSPORTS[process.env.TRANSPORT]());
      await client.open();
      return client;
    } catch (error) {
      console.log(`not connected yet: ${error}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function onMessage(client, input, message) {
  if (input !== 'input1') return;
  if (JSON.parse(message.getData().toString()).machine.temperature <= state.threshold) {
    state.dropped += 1;
  } else {
    const alert = new Message(message.getData());
    alert.contentType = 'application/json';
    alert.contentEncoding = 'utf-8';
    alert.properties.add('MessageType', 'Alert');
    // For the test's books.
    alert.properties.add('run', state.run);
    alert.properties.add('number', String(state.passed));
    state.passed += 1;
    await client.sendOutputEvent('output1', alert);
  }
  await client.complete(message);
}

async function ask(client, device, module) {
  const question = {
    methodName: 'threshold',
    payload: null,
    responseTimeoutInSeconds: 20,
    connectTimeoutInSeconds: 20,
  };
  return client.invokeMethod(device, module, question);
}

function page(client) {
  return async (request, response) => {
    const path = request.url.split('/').filter(Boolean);
    let status = 200;
    let said = state;
    try {
      if (path[0] === 'ask') said = await ask(client, path[1], path[2]);
    } catch (error) {
      status = 502;
      said = { error: String(error), body: error.responseBody };
    }
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(said));
  };
}

async function main() {
  const client = await connected();
  client.on('error', (error) => console.log(`error: ${error}`));
  const twin = await client.getTwin();
  // The SDK calls this with what there is, too.
  twin.on('properties.desired', (desired) => {
    state.threshold = desired.TemperatureThreshold ?? state.threshold ?? DEFAULT;
    const patch = { TemperatureThreshold: state.threshold };
    twin.properties.reported.update(patch, (error) => error && console.log(`not reported: ${error}`));
  });
  client.onMethod('threshold', (_, response) => response.send(200, { threshold: state.threshold }, () => {}));
  client.on('inputMessage', (input, message) => {
    onMessage(client, input, message).catch((error) => console.log(`not passed on: ${error}`));
  });
  http.createServer(page(client)).listen(8080);
  console.log('the filter is running');
}

main();
