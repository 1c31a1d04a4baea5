#!/usr/bin/env node
/** `carillon serve | doctor | send | watch | outbox`. All but `serve` and `doctor` are clients of a running service. */
import { Command } from 'commander';
import { DEFAULT_SERVER, outbox, send, watch } from './cli/client.ts';
import { doctor } from './cli/doctor.ts';
import { serve } from './cli/serve.ts';
import { VERSION } from './version.ts';

const collect = (value: string, before: readonly string[]): string[] => [...before, value];

function clientCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option('--server <url>', 'where the service listens for HTTP', DEFAULT_SERVER)
    .option('--key <key>', 'API key, where the service asks for one');
}

function configuredCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option('--config <file>', 'configuration file; default: $CARILLON_CONFIG, else carillon.toml if it is there')
    .option('--set <key=value>', 'one configuration value, such as server.grpc_address=127.0.0.1:50052', collect, []);
}

const program = new Command('carillon')
  .description('A notification service: accepts, stores, delivers, retries, watches.')
  .version(VERSION);

program.addCommand(
  configuredCommand('serve', 'run the service; without configuration it keeps everything in data/carillon.db')
    .option('--role <roles>', 'api, worker, scheduler or several of them, separated by commas')
    .action(serve),
);
program.addCommand(
  configuredCommand('doctor', 'ask every configured provider whether its credentials are good; sends nothing').action(
    doctor,
  ),
);

program.addCommand(
  clientCommand('send', 'send one notification')
    .argument('<type>', 'the kind of notification, which names its template')
    .option('--channel <channel>', 'email, sms, push, webhook, in_app, slack or discord; may be repeated', collect, [])
    .option('--to <address>', 'the address on the first channel')
    .option('--recipient-id <id>', 'your own id of the recipient')
    .option('--data <json>', 'values for the template')
    .option('--text <text>', 'the content itself, in place of a template')
    .option('--subject <subject>', 'with --text: the subject, or the title of a push')
    .option('--priority <priority>', 'low, normal, high or urgent', 'normal')
    .option('--idempotency-key <key>', 'makes a repeat of the command safe')
    .action(send),
);
program.addCommand(
  clientCommand('watch', 'show every change of status as it happens')
    .option('--group <id>', 'only one send')
    .option('--recipient <id>', 'only one recipient')
    .option('--after <token>', 'go on after a token')
    .option('--json', 'one JSON object per line')
    .action(watch),
);
program.addCommand(
  clientCommand('outbox', 'show what the capture providers kept instead of sending, newest first')
    .option('--limit <number>', 'how many notifications to look at, up to 100', '20')
    .option('--json', 'one JSON object per line')
    .action(outbox),
);

// Whoever reads has seen enough, as behind `| head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});
// Without a command it serves; a default command would take a mistyped one for an argument of its own.
await program.parseAsync(process.argv.length > 2 ? process.argv : [...process.argv, 'serve']);
