"""`folder_paths`: where files lie, by folder name. Names never lead outside their folder."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import BadInput, NotFound
from engine.files import FileStore, safe_join
from engine.settings import Settings

ANNOTATION = re.compile(r"^(.*?) ?\[(input|output|temp)\]$", re.S)
COUNTER_DIGITS = 5
supported_pt_extensions = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
KINDS = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "hypernetworks", "photomaker",
    "classifiers", "model_patches", "audio_encoders",
)  # fmt: skip
OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}


@dataclass
class Places:
    """The folders of this worker."""

    settings: Settings = field(default_factory=Settings)
    files: FileStore | None = None

    @property
    def roots(self) -> dict[str, Path]:
        """Folder of each kind of file that people see."""
        data = self.settings.data_dir
        return {"input": data / "input", "output": self.settings.output_dir, "temp": data / "temp"}


PLACES = Places()
base_path = models_dir = ""  # packs write below the first: it is a folder of the data folder, never our source
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
filename_list_cache: dict[str, object] = {}


def settle(settings: Settings, files: FileStore | None) -> None:
    """Take the folders of a worker's settings."""
    PLACES.settings, PLACES.files = settings, files
    globals().update(base_path=str(settings.data_dir / "comfyui"), models_dir=str(settings.models_dir))
    folder_names_and_paths.clear()
    for kind in KINDS:
        folder_names_and_paths[kind] = ([str(settings.models_dir / kind)], set(supported_pt_extensions))
    folder_names_and_paths["custom_nodes"] = ([str(f) for f in settings.custom_nodes], set())


def temp() -> Path:
    """Return the folder of files that are only shown."""
    folder = PLACES.roots["temp"]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def get_input_directory() -> str:
    """Return the folder of uploads."""
    return str(PLACES.roots["input"])


def get_output_directory() -> str:
    """Return the folder of results."""
    return str(PLACES.roots["output"])


def get_temp_directory() -> str:
    """Return the folder of files that are only shown."""
    return str(temp())


def get_user_directory() -> str:
    """Return a folder for what packs keep about people."""
    folder = PLACES.settings.data_dir / "comfyui" / "user"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def get_directory_by_type(type_name: str) -> str | None:
    """Return the folder called input, output or temp."""
    return str(PLACES.roots[type_name]) if type_name in PLACES.roots else None


def get_directory(type_name: str) -> str | None:
    """Return the folder called input, output or temp."""
    return get_directory_by_type(type_name)


def map_legacy(folder_name: str) -> str:
    """Return today's name of a folder."""
    return OLD_NAMES.get(folder_name, folder_name)


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    """Add a place where files of a kind are looked for."""
    paths, _ = folder_names_and_paths.setdefault(map_legacy(folder_name), ([], set()))
    if full_folder_path not in paths:
        paths.insert(0 if is_default else len(paths), full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    """Return where files of a kind are looked for."""
    return list(folder_names_and_paths[map_legacy(folder_name)][0])


def get_filename_list(folder_name: str) -> list[str]:
    """Return the names of the files of a kind, sorted."""
    paths, extensions = folder_names_and_paths[map_legacy(folder_name)]
    found = {name for path in paths for name in recursive_search(path)[0]}
    return sorted(filter_files_extensions(found, list(extensions)))


def get_full_path(folder_name: str, filename: str) -> str | None:
    """Return where a file of a kind lies, or None."""
    for folder in folder_names_and_paths.get(map_legacy(folder_name), ([], set()))[0]:
        with suppress(BadInput):
            path = safe_join(Path(folder), filename)
            if path.is_file():
                return str(path)
    return None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """Return where a file of a kind lies; FileNotFoundError otherwise."""
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError(f"There is no {filename!r} in the folder {folder_name!r}.")
    return path


def recursive_search(
    directory: str, excluded_dir_names: Sequence[str] | None = None
) -> tuple[list[str], dict[str, float]]:
    """Return the files below a folder by their paths in it, and the folders with the times of their last change."""
    files: list[str] = []
    folders: dict[str, float] = {}
    for place, below, names in os.walk(directory):
        below[:] = [b for b in below if b not in (excluded_dir_names or ()) and not b.startswith(".")]
        folders[place] = os.path.getmtime(place)
        files += [os.path.relpath(os.path.join(place, name), directory).replace(os.sep, "/") for name in names]
    return files, folders


def filter_files_extensions(files: Iterable[str], extensions: Sequence[str]) -> list[str]:
    """Return the files that end in one of these; all if there are none."""
    return sorted(f for f in files if not extensions or os.path.splitext(f)[1].lower() in extensions)


def filter_files_content_types(files: Iterable[str], content_types: Sequence[str]) -> list[str]:
    """Return the files that by their names are an `image`, `video`, `audio` or `model`."""
    return [f for f in files if (mimetypes.guess_type(f)[0] or "").partition("/")[0] in content_types]


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """Split `name [output]` into the name and its folder; None where there is no annotation."""
    match = ANNOTATION.match(name)
    return (match[1], get_directory_by_type(match[2])) if match else (name, None)


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """Return the path of a file, `name` or `name [output]`, in the input folder unless it says otherwise."""
    name, folder = annotated_filepath(name)
    path = safe_join(Path(folder or default_dir or get_input_directory()), name.replace("\\", "/"))
    if not path.exists() and folder is None and PLACES.files is not None:
        with suppress(NotFound):
            return str(PLACES.files.find("input", name))
    return str(path)


def exists_annotated_filepath(name: str) -> bool:
    """Say whether such a file is there."""
    try:
        return os.path.exists(get_annotated_filepath(name))
    except BadInput:
        return False


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Return folder, start of the name, next number, sub-folder and prefix for results; the folder is made."""
    prefix = filename_prefix.replace("%width%", str(image_width)).replace("%height%", str(image_height))
    target = safe_join(Path(output_dir), prefix.replace("\\", "/"))
    folder, stem = target.parent, target.name
    folder.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(re.escape(stem) + r"_(\d+)_?\.")
    numbers = [int(m[1]) for entry in os.scandir(folder) if (m := pattern.match(entry.name))]
    subfolder = folder.relative_to(Path(output_dir).resolve()).as_posix()
    return str(folder), stem, max(numbers, default=0) + 1, "" if subfolder == "." else subfolder, prefix


def __getattr__(name: str) -> str:
    """Return `input_directory`, `output_directory` or `temp_directory`, as older packs ask for them."""
    folder = get_directory_by_type(name.removesuffix("_directory")) if name.endswith("_directory") else None
    if folder is None:
        raise AttributeError(f"folder_paths has no {name!r} in Sfumato")
    return folder
