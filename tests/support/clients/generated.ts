// Uses openapi-fetch with the types that openapi-typescript has generated: `generated.js URL KEY`.
// It prints what it found as JSON. tsc has to accept each line, or says what it must refuse.
import createClient from "openapi-fetch";
import type { components, paths } from "./mailwake.js";

const [url, key] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });
const newsletter_id = "generated/typescript ü"; // a slash and a space, which belong to the id
const html = '<a href="https://shop.example/boots">Boots</a>';

const rewritten = await client.POST("/v1/rewrite", {
  body: { newsletter: { id: newsletter_id }, recipient: "ann@example.com", html, metadata: { order: "B:1" } },
});
if (!rewritten.data) throw new Error(rewritten.error.detail);

const path = { newsletter_id };
await client.POST("/v1/newsletters/{newsletter_id}/template", { params: { path }, body: { html } });
const lines = ["bob", "cem"].map((name) => JSON.stringify({ recipient: `${name}@example.com` })).join("\n");
const streamed = await client.POST("/v1/newsletters/{newsletter_id}/messages", {
  params: { path, query: { return: "token" } },
  body: lines,
  bodySerializer: (body) => body,
  headers: { "Content-Type": "application/x-ndjson" },
  parseAs: "text",
});
const messages = (streamed.data ?? "").trim().split("\n")
  .map((line) => JSON.parse(line) as components["schemas"]["TokenOut"]);

let found: string[] = []; // a message is found once it has been loaded
for (let tries = 0; tries < 1200 && !found.length; tries++) {
  const { data } = await client.GET("/v1/messages", {
    params: { query: { metadata: ["order:B:1"], limit: 5 } },
  });
  found = (data?.messages ?? []).map((message) => message.message_id);
  await new Promise((resolve) => setTimeout(resolve, 100));
}
const pages: string[] = [];
for (let after: string | null = ""; after !== null;) {
  const page: { data?: components["schemas"]["NewsletterList"] } =
    await client.GET("/v1/newsletters", { params: { query: { limit: 1, after } } });
  pages.push(...(page.data?.newsletters ?? []).map((one) => one.id));
  after = page.data?.next_after ?? null;
}
const body = { recipient: "bob@example.com" };
const suppressed = [
  (await client.POST("/v1/suppressions", { body })).data?.suppressed,
  (await client.DELETE("/v1/suppressions", { body })).data?.suppressed,
];
const problem = await client.GET("/v1/newsletters/{newsletter_id}", {
  params: { path: { newsletter_id: "unknown" } },
});
// @ts-expect-error: a parameter that does not exist is an error of the compiler, and of the service
const refused = await client.GET("/v1/newsletters", { params: { query: { limitt: 1 } } });

console.log(JSON.stringify({
  message: rewritten.data.message_id,
  html: rewritten.data.html,
  streamed: messages.map((message) => message.recipient),
  found,
  pages,
  suppressed,
  problem: [problem.error?.status, problem.error?.field],
  refused: [refused.response.status, (refused.error as { field?: string } | undefined)?.field],
}));
