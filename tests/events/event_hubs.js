// Reads the event endpoint with `@azure/event-hubs`: arguments are the connection string, the device and how
// many of its events to wait for; prints one JSON document.
'use strict';

const { EventHubConsumerClient, earliestEventPosition } = require('@azure/event-hubs');

const [login, device, count, websockets] = process.argv.slice(2);

// A store that outlives its consumers, as BlobCheckpointStore does.
class Checkpoints {
  constructor() {
    this.owners = new Map();
    this.checkpoints = new Map();
  }
  async listOwnership() {
    return [...this.owners.values()];
  }
  async claimOwnership(wanted) {
    return wanted
      .filter((one) => {
        const known = this.owners.get(one.partitionId);
        return !known || known.etag === one.etag;
      })
      .map((one) => {
        const made = { ...one, etag: String(Math.random()), lastModifiedTimeInMs: Date.now() };
        this.owners.set(one.partitionId, made);
        return made;
      });
  }
  async updateCheckpoint(checkpoint) {
    this.checkpoints.set(checkpoint.partitionId, checkpoint);
  }
  async listCheckpoints() {
    return [...this.checkpoints.values()];
  }
}

// Else a consumer takes one partition every ten seconds, and it may be the last one that has the events.
const options = { loadBalancingOptions: { strategy: 'greedy', updateIntervalInMs: 1000 } };
if (websockets === 'websocket') options.webSocketOptions = { webSocket: require('ws') };

// Reads so many events, and stores that it has seen the first of them.
function read(store, wanted, stored) {
  const client = new EventHubConsumerClient('$Default', login, store, options);
  const events = [];
  return new Promise((resolve, reject) => {
    const subscription = client.subscribe(
      {
        processEvents: async (batch, context) => {
          for (const event of batch) {
            if (event.systemProperties['iothub-connection-device-id'] !== device) continue;
            if (event.systemProperties['iothub-message-source'] !== 'Telemetry') continue;
            events.push({
              body: event.body,
              sequence: event.sequenceNumber,
              offset: String(event.offset),
              key: event.partitionKey,
              enqueued: event.enqueuedTimeUtc,
              properties: event.properties,
              last: context.lastEnqueuedEventProperties?.sequenceNumber,
            });
            if (events.length <= stored) await context.updateCheckpoint(event);
          }
          if (events.length >= wanted) {
            await subscription.close();
            await client.close();
            resolve(events);
          }
        },
        processError: async (error) => reject(error),
      },
      { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1, trackLastEnqueuedEventProperties: true },
    );
  });
}

async function main() {
  const client = new EventHubConsumerClient('$Default', login, options);
  const about = await client.getEventHubProperties();
  const partitions = await Promise.all(about.partitionIds.map((id) => client.getPartitionProperties(id)));
  await client.close();
  const store = new Checkpoints();
  const events = await read(store, Number(count), Number(count) - 1);
  const checkpoints = [...store.checkpoints.values()];
  // Another consumer begins behind what is stored.
  const rest = await read(store, 1, 0);
  console.log(JSON.stringify({ about, partitions, events, checkpoints, rest }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
