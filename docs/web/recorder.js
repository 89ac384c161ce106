// Runs beside the page, in the audio thread: hands on what the microphone gives, a block at a time.
class Recorder extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) this.port.postMessage(channels[0].slice());
    return true;
  }
}
registerProcessor('recorder', Recorder);
