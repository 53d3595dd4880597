/**
 * Measures, inside a browser page of the server, how long a sound at the microphone takes to the screen and to the ear.
 * It uses the page's own conversation code, and every time is on the one clock of performance.now().
 *
 * Microphone: the capture time stamps of the samples. A real microphone hands over a block when it is full, so its
 * first sample is one block old by then; the fake one stamps the block's start with the hand-over, hence the correction.
 * Screen: when the compositor expects to show the first picture with the white square.
 * Ear: when the decoded sound is handed to the output device, plus that device's delay as the browser reports it.
 */

const THRESHOLD = 0.05; // of full scale; the bursts are far above, the codec's noise far below
const QUIET_S = 0.3;
const SQUARE_PX = { at: 8, size: 16 }; // well inside the server's 32x32 square

export async function measure({ base, character, seconds }) {
  const { Conversation } = await import(new URL("client/avatar.js", base).href);
  const { Meter } = await import(new URL("client/meter.js", base).href);
  const found = { spoken: [], seen: [], heard: [], readings: [], firstPictureMs: null };
  const startedAt = performance.now();
  const conversation = new Conversation({ base, character, processing: false, options: { probe: true } });
  const video = Object.assign(document.createElement("video"), { autoplay: true, playsInline: true });
  document.body.append(video);
  let microphone = null;
  let meter = null;
  let stats = null;
  conversation.addEventListener("microphone", ({ detail }) => {
    microphone = detail.stream;
    onsets(microphone.getAudioTracks()[0], 1, found.spoken);
  });
  conversation.addEventListener("server", ({ detail }) => { stats = detail.stats; });
  const linked = new Promise((resolve) => conversation.addEventListener("link", ({ detail }) => resolve(detail.link)));
  const ended = conversation.run();
  const link = await Promise.race([linked, ended.then(() => { throw new Error("the conversation ended at once"); })]);
  video.srcObject = link.stream;
  await video.play();
  meter = new Meter(link, video, microphone);
  squares(video, found.seen, () => { found.firstPictureMs ??= performance.now() - startedAt; });
  onsets(link.stream.getAudioTracks()[0], 0, found.heard);
  for (let second = 0; second < seconds; second++) {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const { delayMs, fps, syncMs } = await meter.read(stats);
    found.readings.push({ delayMs, fps, syncMs });
  }
  found.endMs = performance.now();
  found.stats = stats;
  const report = [...(await link.getStats()).values()];
  const playout = report.find(({ type }) => type === "media-playout");
  found.video = report.find(({ type, kind }) => type === "inbound-rtp" && kind === "video");
  found.outputMs = playout ? (1_000 * playout.totalPlayoutDelay) / playout.totalSamplesCount : 0;
  conversation.end();
  await ended;
  return found;
}

/** Times at which a track becomes loud after having been quiet. */
async function onsets(track, blocksOld, times) {
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  let samples = new Float32Array(0);
  let quiet = 0;
  for (;;) {
    const { value: block, done } = await reader.read();
    if (done) return;
    const { numberOfFrames, sampleRate, timestamp } = block;
    if (samples.length < numberOfFrames) samples = new Float32Array(numberOfFrames);
    block.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    block.close();
    const startMs = timestamp / 1000 - (blocksOld * numberOfFrames * 1000) / sampleRate;
    for (let n = 0; n < numberOfFrames; n++) {
      if (Math.abs(samples[n]) < THRESHOLD) {
        quiet += 1;
        continue;
      }
      if (quiet > QUIET_S * sampleRate) times.push(startMs + (n * 1000) / sampleRate);
      quiet = 0;
    }
  }
}

/** Times at which the white square appears. */
function squares(video, times, onPicture) {
  const canvas = new OffscreenCanvas(1, 1);
  const paint = canvas.getContext("2d", { willReadFrequently: true });
  let was = true; // so that a square in the first picture is not taken for an onset
  const look = (now, frame) => {
    onPicture();
    paint.drawImage(video, SQUARE_PX.at, SQUARE_PX.at, SQUARE_PX.size, SQUARE_PX.size, 0, 0, 1, 1);
    const [red, green, blue] = paint.getImageData(0, 0, 1, 1).data;
    const is = Math.min(red, green, blue) > 244;
    if (is && !was) times.push(frame.expectedDisplayTime);
    was = is;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}
