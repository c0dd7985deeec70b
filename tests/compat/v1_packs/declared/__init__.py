"""A pack in the declarative protocol (v3)."""

from comfy_api.latest import ComfyExtension, io, ui

CALLS = []


class DeclaredAdd(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DeclaredAdd",
            display_name="Add",
            category="test/v3",
            inputs=[
                io.Int.Input("a", force_input=True),
                io.Int.Input("b", default=1, min=0, max=10, step=1, tooltip="What is added."),
                io.Combo.Input("how", options=["plus", "minus"], default="plus"),
                io.Image.Input("image", optional=True),
            ],
            outputs=[io.Int.Output(display_name="sum")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, b):
        return "not four" if b == 4 else True

    @classmethod
    def execute(cls, a, b, how, image=None):
        CALLS.append(f"DeclaredAdd {cls.hidden.unique_id}")
        return io.NodeOutput(a + b if how == "plus" else a - b)


class DeclaredGrows(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        many = io.Autogrow.TemplatePrefix(io.Int.Input("n", force_input=True), prefix="n", min=1, max=3)
        named = io.Autogrow.TemplateNames(io.Int.Input("m", default=0), names=["left", "right"], min=0)
        return io.Schema(
            node_id="DeclaredGrows",
            category="test/v3",
            inputs=[
                io.Autogrow.Input("many", template=many),
                io.Autogrow.Input("sides", template=named),
                io.DynamicCombo.Input(
                    "mode",
                    options=[
                        io.DynamicCombo.Option("plain", []),
                        io.DynamicCombo.Option("sized", [io.Int.Input("size", default=4), io.String.Input("x")]),
                        io.DynamicCombo.Option("scaled", [io.Float.Input("size", default=0.5)]),
                    ],
                ),
            ],
            outputs=[io.String.Output(display_name="told")],
        )

    @classmethod
    def fingerprint_inputs(cls, many, sides, mode):
        return mode["mode"]

    @classmethod
    def execute(cls, many, sides, mode):
        CALLS.append("DeclaredGrows")
        return io.NodeOutput(str([many, sides, mode]))


class DeclaredSwitch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        template = io.MatchType.Template("T")
        return io.Schema(
            node_id="DeclaredSwitch",
            inputs=[
                io.Boolean.Input("switch"),
                io.MatchType.Input("yes", template=template, lazy=True),
                io.MatchType.Input("no", template=template, lazy=True),
            ],
            outputs=[io.MatchType.Output(template=template)],
        )

    @classmethod
    def check_lazy_status(cls, switch, yes=None, no=None):
        wanted, value = ("yes", yes) if switch else ("no", no)
        return [wanted] if value is None else []

    @classmethod
    def execute(cls, switch, yes=None, no=None):
        return io.NodeOutput(yes if switch else no)


class DeclaredLater(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="DeclaredLater", inputs=[io.Int.Input("n", default=1)], outputs=[io.Int.Output()])

    @classmethod
    async def execute(cls, n):
        return io.NodeOutput(n) if n else io.NodeOutput(block_execution="nothing to give")


class DeclaredShow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DeclaredShow",
            inputs=[io.MultiType.Input("value", [io.Int, io.Float, io.String])],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(ui=ui.PreviewText(str(value)))


class Pack(ComfyExtension):
    async def get_node_list(self):
        return [DeclaredAdd, DeclaredGrows, DeclaredSwitch, DeclaredLater, DeclaredShow]


async def comfy_entrypoint():
    return Pack()
