"""s3prl's pretrain runner saves `Step` before counting the step it has just made, and its last file as
`states-epoch-N`, which sorts below every `states-STEP`: resuming made one step too many, or began too early."""

import torch

from fithubert_upstream.checkpoints.torch_files import states_in
from fithubert_upstream.pretrain.run import main

from ..helpers.tiny import make_corpus, make_teacher, write_configs


def test_saved_step_is_the_number_of_steps_made(tmp_path):
    model, runner = write_configs(
        tmp_path, make_teacher(tmp_path / "t"), make_corpus(tmp_path / "c"), n_epochs=1, log_step=1, save_step=2
    )
    main(["-g", str(model), "-c", str(runner), "-p", str(tmp_path / "exp")])
    assert sorted(p.name for p in (tmp_path / "exp").glob("*.ckpt")) == ["states-2.ckpt", "states-4.ckpt"]
    for step in (2, 4):
        states = torch.load(tmp_path / "exp" / f"states-{step}.ckpt", weights_only=True)
        assert states["Step"] == step
        assert max(int(s["step"]) for s in states["Optimizer"]["state"].values()) == step
    assert states_in(tmp_path / "exp")[-1].name == "states-4.ckpt"
