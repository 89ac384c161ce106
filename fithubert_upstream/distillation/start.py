"""What a student begins as: at random, as its teacher's first layers, or as another student."""

from ..checkpoints.load import load_fithubert
from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from ..teachers.derived import GroupTeacher
from ..teachers.teacher import HubertTeacher, Teacher
from .config import DistillationConfig


def new_student(config: DistillationConfig, teacher: Teacher) -> FitHubert:
    """The student that a config describes, as `init_from_teacher` and `init` let it begin.

    Raises FitHubertError when the teacher or the other student has other shapes.
    """
    student = FitHubert(config.student)
    if config.init_from_teacher:
        copy_first_layers(teacher, student)
    elif config.init is not None:
        begin_as(student, config.init)
    return student


def copy_first_layers(teacher: Teacher, student: FitHubert) -> None:
    """Let the student begin as the teacher's convolutions and first layers; its heads stay as they are.

    Raises FitHubertError when the teacher is no HuBERT or wav2vec 2.0, or has other shapes.
    """
    if isinstance(teacher, GroupTeacher):
        teacher = teacher.source
    if not isinstance(teacher, HubertTeacher):
        raise FitHubertError(
            f"teacher {teacher.name}: expected HuBERT or wav2vec 2.0, whose layers a student can begin with, found "
            f"{type(teacher).__name__}; set init_from_teacher: false"
        )
    there = teacher.model.state_dict()
    wanted = {name: tensor for name, tensor in student.state_dict().items() if not name.startswith("heads.")}
    for name, tensor in wanted.items():
        found = tuple(there[name].shape) if name in there else "no such weight"
        if found != tensor.shape:
            raise FitHubertError(
                f"teacher {teacher.name}: expected {name} of shape {tuple(tensor.shape)} for a student that begins "
                f"with its layers, found {found}; give the student the teacher's shapes, or set init_from_teacher: "
                "false"
            )
    student.load_state_dict({name: there[name].clone() for name in wanted}, strict=False)


def begin_as(student: FitHubert, name: str) -> None:
    """Give the student the weights of another one's file, or of an embedded one; heads that do not fit it are left out.

    Raises FitHubertError where anything but heads has another shape.
    """
    there = load_fithubert(name).state_dict()
    here = student.state_dict()
    fits = {key: tensor for key, tensor in there.items() if key in here and tensor.shape == here[key].shape}
    for key in sorted(here.keys() | there.keys()):
        if key not in fits and not key.startswith("heads."):
            found, expected = (tuple(part[key].shape) if key in part else "none" for part in (there, here))
            raise FitHubertError(
                f"init {name}: expected a student of the same shape, found {key} {found} there and {expected} here"
            )
    student.load_state_dict(here | fits)
