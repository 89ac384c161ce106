"""A speaker encoder's weights, from a file as Resemblyzer has it."""

from ..errors import FitHubertError
from ..models.speaker_encoder import WIDTH, SpeakerEncoder
from .torch_files import read_own


def load_speaker_encoder(path: str) -> SpeakerEncoder:
    """The encoder in a `.pt` as Resemblyzer has it.

    Raises FitHubertError when the file is missing, damaged or another's.
    """
    weights = read_own(path, "a speaker encoder", ("model_state",))["model_state"]
    encoder = SpeakerEncoder()
    known = encoder.state_dict()
    try:
        encoder.load_state_dict({name: weights[name] for name in known})
    except (TypeError, KeyError, RuntimeError) as error:
        raise FitHubertError(
            f"{path}: expected a speaker encoder as Resemblyzer's pretrained.pt, an LSTM of 3 x {WIDTH} and a linear "
            "layer, found another file"
        ) from error
    return encoder
