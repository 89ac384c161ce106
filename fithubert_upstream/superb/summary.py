"""What a table's folder shows of the runs that are finished: tables, pictures and results.json."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ..files import write_json, write_text
from .choice_report import choice_table, draw_choice
from .collect import collect
from .configs import Settings
from .layers import draw_layers
from .metrics import METRICS
from .report import Row, markdown_table, plot, published_rows, write_csv
from .running.job import Job
from .search_report import draw_search, search_table


def write_report(jobs: Iterable[Job], parameters: dict[str, int], settings: Settings, output: Path) -> list[Row]:
    """Write the tables, pictures and results.json of what is finished; one row for each upstream."""
    steps: dict[str, int] = {}
    tasks: list[str] = []
    cells: dict[str, dict[str, list[Job]]] = {label: {} for label in parameters}
    for job in jobs:
        tasks.append(job.task.key)
        if job.task.trains:
            steps[job.task.key] = job.identity["runner.total_steps"]
        cells[job.upstream.label].setdefault(job.task.key, []).append(job)
    found = {label: {key: collect(runs) for key, runs in row.items()} for label, row in cells.items()}
    found = {label: {key: cell for key, cell in row.items() if cell is not None} for label, row in found.items()}
    numbers: dict[str, dict[str, tuple[float, float | None]]] = {label: {} for label in found}
    for label, done in found.items():
        for key, cell in done.items():
            numbers[label] |= cell.numbers(key)
    rows = [
        Row(
            label,
            parameters[label],
            **{key: value for key, (value, _) in numbers[label].items()},
            spread={key: spread for key, (_, spread) in numbers[label].items() if spread is not None},
            note="; ".join(dict.fromkeys(note for cell in done.values() for note in cell.notes)),
            comparable=settings.comparable,
        )
        for label, done in found.items()
    ]
    published = published_rows()
    seeds = ", ".join(map(str, settings.seeds or (settings.seed,)))
    about = (
        f"SUPERB's tasks on frozen upstreams: {settings.configs} configs, seed{'s' if settings.seeds else ''} {seeds}, "
        f"updates: {', '.join(f'{key.upper()} {count}' for key, count in steps.items()) or 'none'}"
    )
    columns = [key for key, metric in METRICS.items() if metric.task in tasks]
    text = f"{about}\n\n{markdown_table(rows, published, columns)}\n"
    searches = {label: {key: cell.search for key, cell in done.items() if cell.search} for label, done in found.items()}
    if any(searches.values()):
        text += f"\n{search_table(searches)}\n"
        draw_search(searches, output / "lr.png")
    for key in dict.fromkeys(key for done in found.values() for key, cell in done.items() if cell.choice):
        choices = {label: done[key].choice for label, done in found.items() if key in done}
        text += f"\n{choice_table(choices, key)}\n"
        draw_choice(choices, key, output / f"{key}.png")
    write_text(output / "table.md", text)
    write_csv(rows, published, output / "table.csv")
    plot(rows, published, output / "superb.png")
    layers = {label: {key: cell.layers for key, cell in done.items() if cell.layers} for label, done in found.items()}
    layers = {label: weights for label, weights in layers.items() if weights}
    if layers:
        draw_layers(layers, output / "layers.png")
    results = {label: {key: cell.results() for key, cell in done.items()} for label, done in found.items()}
    write_json(
        output / "results.json",
        {"settings": asdict(settings), "rows": [asdict(row) for row in rows], "results": results},
    )
    return rows
