// Reads messages with postal-mime: one in base64 a line in, what it found as JSON a line out.
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';

const { default: PostalMime } = await import(process.argv[2]);
const sum = (data) => createHash('sha256').update(Buffer.from(data)).digest('hex');

for await (const line of createInterface({ input: process.stdin })) {
    let answer;
    try {
        const email = await PostalMime.parse(Buffer.from(line, 'base64'));
        answer = {
            html: email.html ?? '',
            text: email.text ?? '',
            headers: email.headers.map(({ key, value }) => [key, value]),
            attachments: email.attachments.map((a) => [a.filename, a.mimeType, sum(a.content)]),
        };
    } catch (error) {
        answer = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
}
