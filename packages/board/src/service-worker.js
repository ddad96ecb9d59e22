/**
 * Keeps the files of the board, so that the page opens without the server: the server's copy where it answers in
 * time, otherwise the last one seen. Only files: nothing under /v1/ and no rows of any store pass through here.
 */
const CACHE = "board-files";
const ANSWER_MS_MAX = 3000;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim().then(keepAll)));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin || url.pathname.startsWith("/v1/")) return;
  event.respondWith(answer(event, request));
});

/** Keeps every file of the build (`FILES`, put in by build.mjs): the first visit loads them past this worker. */
async function keepAll() {
  const cache = await caches.open(CACHE);
  await Promise.allSettled(FILES.map((file) => cache.add(file)));
}

/** Queries are for the page's code, they do not choose another file. */
function fileOf(request) {
  const url = new URL(request.url);
  url.search = "";
  return url.href;
}

async function answer(event, request) {
  const cache = await caches.open(CACHE);
  const silence = new AbortController();
  // Only the beginning of the answer is awaited for so long: a large file may take its time.
  const timer = setTimeout(() => silence.abort(), ANSWER_MS_MAX);
  try {
    const response = await fetch(request, { signal: silence.signal });
    if (response.ok) event.waitUntil(cache.put(fileOf(request), response.clone()).catch(() => undefined));
    return response;
  } catch (error) {
    const kept = await cache.match(fileOf(request));
    if (kept) return kept;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
