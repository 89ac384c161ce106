"""Features of a 16 kHz recording from an exported student, without torch: python features.py student.onnx speech.wav"""

import sys

import numpy as np
import onnxruntime
import soundfile

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
samples, rate = soundfile.read(sys.argv[2], dtype="float32", always_2d=True)
expected = session.get_modelmeta().custom_metadata_map["sample_rate"]
assert rate == int(expected), f"expected {expected} Hz, found {rate} Hz"
waveforms = samples.mean(axis=1)[None]  # (1, T)
features, frames = session.run(
    ["last_hidden_state", "frames"], {"waveforms": waveforms, "lengths": np.array([waveforms.shape[1]])}
)
print(f"{features.shape} features, {frames[0]} frames, from {expected} Hz")
