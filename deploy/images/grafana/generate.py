"""Write Grafana's dependency injection into this folder: its module does not carry the generated file.

Run in a copy of the recipe's folder, with Go's variables set: python3 generate.py GO
"""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER = "github.com/grafana/grafana/pkg/server"


def go(*args: str, cwd: Path = HERE) -> str:
    """Run Go; return what it printed."""
    return subprocess.run([sys.argv[1], *args], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def as_main(text: str) -> str:
    """Keep `Initialize` and the imports that it uses; make it part of our own program."""
    body = re.search(r"^func Initialize\(.*?^}\n", text, flags=re.DOTALL | re.MULTILINE)[0]
    body = body.replace("*Server,", "*server.Server,").replace("opts Options", "opts server.Options")
    body = body.replace(":= New(", ":= server.New(")
    used = set(re.findall(r"\b(\w+)\.", body))
    found = re.findall(r'^\t(?:(\w+) )?"([^"]+)"$', text, flags=re.MULTILINE)
    # A package need not be called like its folder: ask.
    shown = go("list", "-tags", "oss", "-f", "{{.ImportPath}} {{.Name}}", *(path for _, path in found))
    names = dict(line.split() for line in shown.splitlines())
    imports = [f'\t{alias} "{path}"' for alias, path in found if (alias or names[path]) in used]
    return "\n".join(["package main", "", "import (", f'\t"{SERVER}"', *imports, ")", "", body])


def main() -> None:
    """Build wire, run it, keep what we need of its output."""
    os.environ["GOFLAGS"] = "-buildvcs=false -modcacherw"
    go("build", "-o", str(HERE / "wirebin"), "github.com/google/wire/cmd/wire", cwd=HERE / "wire")
    package = go("list", "-f", "{{.Dir}}", "-tags", "oss wireinject", SERVER)
    # wire joins its prefix with the package's folder, which is read-only and not ours to write to.
    prefix = os.path.relpath(HERE, package)
    path = f"{Path(sys.argv[1]).parent}:{os.environ['PATH']}"
    args = [str(HERE / "wirebin"), "gen", "-tags", "oss", "-output_file_prefix", f"{prefix}/", SERVER]
    subprocess.run(args, cwd=HERE, check=True, env={**os.environ, "PATH": path})
    (HERE / "initialize.go").write_text(as_main((HERE / "wire_gen.go").read_text()))
    (HERE / "wire_gen.go").unlink()


if __name__ == "__main__":
    main()
