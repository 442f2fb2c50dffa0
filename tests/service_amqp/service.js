// What a back end does with `azure-iothub`: arguments are the connection string, a step and its details as
// JSON; prints one JSON document.
'use strict';

const { Client, Registry } = require('azure-iothub');
const { Amqp } = require('azure-iothub/dist/amqp.js');
const { AmqpWs } = require('azure-iothub/dist/amqp_ws.js');
const { Message } = require('azure-iot-common');

const [login, step, text] = process.argv.slice(2);
const request = JSON.parse(text);

const registry = () => Registry.fromConnectionString(login);

// What comes of a call: its body, or the error's name and HTTP status.
async function outcome(call) {
  try {
    return (await call).responseBody;
  } catch (error) {
    return { error: error.name, status: error.response?.statusCode };
  }
}

async function connected() {
  const client = Client.fromConnectionString(login, request.websocket ? AmqpWs : Amqp);
  await client.open();
  return client;
}

const STEPS = {
  async registry() {
    const hub = registry();
    const { deviceId } = request;
    const made = await outcome(hub.create({ deviceId, status: 'enabled' }));
    const again = await outcome(hub.create({ deviceId }));
    const disabled = await outcome(hub.update({ ...made, status: 'disabled', statusReason: 'spare' }));
    const got = await outcome(hub.get(deviceId));
    const listed = await outcome(hub.list());
    const counts = await outcome(hub.getRegistryStatistics());
    const module = await outcome(hub.addModule({ deviceId, moduleId: 'm1', managedBy: 'somebody' }));
    const modules = await outcome(hub.getModulesOnDevice(deviceId));
    await hub.removeModule(deviceId, 'm1');
    const noModule = await outcome(hub.getModule(deviceId, 'm1'));
    await hub.delete(deviceId);
    const gone = await outcome(hub.get(deviceId));
    return { made, again, disabled, got, listed: listed.map((one) => one.deviceId), counts, module, modules, noModule, gone };
  },

  async twin() {
    const hub = registry();
    const { deviceId } = request;
    const plain = (twin) => ({ tags: twin.tags, desired: twin.properties.desired, reported: twin.properties.reported });
    const twin = (await hub.getTwin(deviceId)).responseBody;
    const [first, stale] = [plain(twin), twin.etag];
    const changed = (await twin.update({ tags: { site: 'north' }, properties: { desired: { interval: 5 } } })).result;
    const refused = await outcome(hub.updateTwin(deviceId, { tags: { site: 'south' } }, stale));
    const module = (await hub.updateModuleTwin(deviceId, 'm1', { properties: { desired: { a: 1 } } }, '*')).responseBody;
    const moduleTwin = (await hub.getModuleTwin(deviceId, 'm1')).responseBody;
    return { first, changed: plain(changed), refused, module: plain(module), moduleTwin: plain(moduleTwin) };
  },

  async method() {
    const client = Client.fromConnectionString(login);
    const parameters = { methodName: 'reboot', payload: { delay: 5 }, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 };
    const answer = await client.invokeDeviceMethod(request.deviceId, parameters);
    const away = await outcome(client.invokeDeviceMethod(request.away, { methodName: 'reboot' }));
    return { answer: answer.result, away };
  },

  async send() {
    const client = await connected();
    const sent = [];
    for (const one of request.messages) {
      const message = new Message(one.body);
      Object.assign(message, { messageId: one.messageId, correlationId: 'c-1', contentType: 'text/plain', ack: 'full' });
      message.properties.add('prop', 'v/1 ü');
      try {
        await client.send(one.deviceId, message);
        sent.push('sent');
      } catch (error) {
        sent.push(error.name);
      }
    }
    await client.close();
    return sent;
  },

  async feedback() {
    const client = await connected();
    const receiver = (await client.getFeedbackReceiver()).result;
    return new Promise((resolve, reject) => {
      receiver.on('error', reject);
      receiver.on('message', async (message) => {
        try {
          const records = JSON.parse(message.getData().toString());
          await receiver.complete(message);
          const mine = records.filter((record) => record.originalMessageId === request.messageId);
          if (mine.length === 0) return;
          await client.close();
          resolve({ records: mine, type: message.contentType });
        } catch (error) {
          reject(error);
        }
      });
    });
  },
};

STEPS[step]().then(
  (result) => {
    process.stdout.write(JSON.stringify(result) + '\n', () => process.exit(0));
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
