/** A bare grpc-js server with the codecs of protobuf-es and the messages of the API: the limit of any service on grpc-js. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { handleBidiStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import type { DescMethod, DescMessage, Message, MessageInitShape } from '@bufbuild/protobuf';
import { Channel, Status } from '../gen/carillon/v1/notification_pb.js';
import { NotificationService } from '../gen/carillon/v1/notification_service_pb.js';

const ACCEPTED = {
  groupId: '01a202cf-614d-707a-b656-36206362a790',
  watchToken: 'MC5lY2Y5YzgwMS1kNTgyLTRkYzItYjBkNi1lZDljMDEzMmQ5ZjU',
  notifications: [{ id: '01a202cf-614d-7022-ba0b-5b3c8b04f54c', channel: Channel.EMAIL, status: Status.QUEUED }],
};
const RESULT = { result: { case: 'accepted' as const, value: ACCEPTED } };

function definition(method: DescMethod, streams: boolean): object {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: streams,
    responseStream: streams,
    requestSerialize: () => Buffer.alloc(0),
    requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
    responseSerialize: (message: Message) => Buffer.from(toBinary<DescMessage>(method.output, message)),
    responseDeserialize: () => ({}),
  };
}

const reply = <D extends DescMessage>(schema: D, init: MessageInitShape<D>): Message => create(schema, init);
const { sendNotification, batchSendNotifications, sendNotificationStream } = NotificationService.method;
const send: handleUnaryCall<Message, Message> = (_call, answer) =>
  answer(null, reply(sendNotification.output, ACCEPTED));
const batch: handleUnaryCall<{ requests: readonly unknown[] }, Message> = ({ request }, answer) =>
  answer(null, reply(batchSendNotifications.output, { results: request.requests.map(() => RESULT) }));
const stream: handleBidiStreamingCall<{ sequence: bigint }, Message> = (call) => {
  call.on('data', ({ sequence }: { sequence: bigint }) =>
    call.write(reply(sendNotificationStream.output, { sequence, result: RESULT })),
  );
  call.on('end', () => call.end());
};

const server = new Server({ 'grpc.max_receive_message_length': 64 * 1024 * 1024 });
server.addService(
  {
    send: definition(sendNotification, false),
    batch: definition(batchSendNotifications, false),
    stream: definition(sendNotificationStream, true),
  } as Parameters<Server['addService']>[0], // made of descriptors, so the types of the messages are not known here
  { send, batch, stream },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`${JSON.stringify({ port })}\n`);
});
process.once('SIGTERM', () => server.forceShutdown());
