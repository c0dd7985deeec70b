"""Classes that touch models as packs do: clones, attention patches, wrappers, guidance, prompts, latents."""

import torch

CALLS = []
SEEN = {}


class BorderPatch:
    """Lays one kind of patch over a clone of a model."""

    @classmethod
    def INPUT_TYPES(cls):
        kinds = ["nothing", "attn2", "attn1", "attn2_output", "wrapper", "wrapper_half", "cfg", "post_cfg", "replace",
                 "replace_none", "replace_same", "up", "up_same"]  # fmt: skip
        return {"required": {"model": ("MODEL",), "kind": (kinds,)}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    def patch(self, model, kind):
        twin = model.clone()
        getattr(self, kind)(twin)
        assert model.model_options != twin.model_options or kind == "nothing"
        return (twin,)

    def nothing(self, model):
        pass

    def attn2(self, model):
        def patch(n, context, value, extra):
            SEEN["attn2"] = {k: extra[k] for k in ("n_heads", "dim_head", "block", "cond_or_uncond", "original_shape")}
            return n, context, value * 0

        model.set_model_attn2_patch(patch)

    def attn1(self, model):
        model.set_model_attn1_patch(lambda n, context, value, extra: (n, context, value))

    def attn2_output(self, model):
        model.set_model_attn2_output_patch(lambda out, extra: out * 0)

    def replace(self, model):
        model.set_model_attn2_replace(lambda q, k, v, extra: q * 0, "middle", 0)

    def replace_none(self, model):
        model.set_model_attn2_replace(lambda q, k, v, extra: q * 0, "middle", 0, 7)

    def replace_same(self, model):
        def attend(q, k, v, extra):
            heads = extra["n_heads"]
            SEEN["replace"] = (extra["block"], tuple(q.shape[::2]), k.shape[1])
            q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
            return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

        model.set_model_attn1_replace(attend, "middle", 0)

    def up(self, model):
        model.set_model_output_block_patch(lambda h, hsp, options: (h, hsp * 0))

    def up_same(self, model):
        def seen(h, hsp, options):
            SEEN.setdefault("up", set()).add(options["block"])
            return h, hsp

        model.set_model_output_block_patch(seen)

    def wrapper(self, model):
        def wrap(apply_model, params):
            SEEN["wrapper"] = (sorted(params), params["cond_or_uncond"], tuple(params["input"].shape))
            return apply_model(params["input"], params["timestep"], **params["c"])

        model.set_model_unet_function_wrapper(wrap)

    def wrapper_half(self, model):
        model.set_model_unet_function_wrapper(lambda f, p: f(p["input"], p["timestep"], **p["c"]) * 0.5)

    def cfg(self, model):
        def guide(args):
            return args["uncond"] + (args["cond"] - args["uncond"]) * args["cond_scale"]

        model.set_model_sampler_cfg_function(guide)

    def post_cfg(self, model):
        model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.5)


class BorderSample:
    """Samples as packs do: by the function of ComfyUI's own module, all steps at once or in two parts."""

    @classmethod
    def INPUT_TYPES(cls):
        kinds = {
            "model": ("MODEL",),
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "latent": ("LATENT",),
        }
        return {"required": {**kinds, "parts": ("BOOLEAN", {"default": False})}}

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"

    def sample(self, model, positive, negative, latent, parts):
        from nodes import common_ksampler

        told = (model, 1, 2, 3.0, "euler", "normal", positive, negative)
        if not parts:
            return common_ksampler(*told, latent)
        first = common_ksampler(*told, latent, last_step=1)[0]
        return common_ksampler(*told, first, disable_noise=True, start_step=1, force_full_denoise=True)


class BorderEncode:
    """Encodes a prompt as CLIPTextEncode does."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"clip": ("CLIP",), "text": ("STRING", {"default": ""})}}

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    def encode(self, clip, text):
        cond, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)
        return ([[cond, {"pooled_output": pooled}]],)


class BorderStrength:
    """Changes conditioning in the way that many packs do."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "change"

    def change(self, conditioning):
        import node_helpers

        kept = node_helpers.conditioning_set_values(conditioning, {"start_percent": 0.0, "end_percent": 0.5})
        return ([[t, {**more, "own_key": {"a": torch.ones(2)}}] for t, more in kept],)


class BorderConditioning:
    """Shows what conditioning holds."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True

    def show(self, conditioning):
        more = conditioning[0][1]
        return {"ui": {"text": [more["end_percent"], float(more["own_key"]["a"].sum()), conditioning[0][0].ndim]}}


class BorderLatent:
    """Puts a mask and a key of its own into a latent, and doubles the batch."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT",)}}

    RETURN_TYPES = ("LATENT", "INT")
    FUNCTION = "change"

    def change(self, samples):
        out = samples.copy()
        out["samples"] = samples["samples"].repeat(2, 1, 1, 1)
        out["noise_mask"] = torch.ones(1, 1, 64, 64)
        out["mine"] = samples.get("mine", 0) + 1
        return out, out["mine"]


class BorderVae:
    """Encodes and decodes a picture."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"vae": ("VAE",), "image": ("IMAGE",)}}

    RETURN_TYPES = ("LATENT", "IMAGE")
    FUNCTION = "both"

    def both(self, vae, image):
        samples = vae.encode(image[:, :, :, :3])
        return {"samples": samples, "downscale_ratio_spacial": vae.spacial_compression_encode()}, vae.decode(samples)


NODE_CLASS_MAPPINGS = {name: cls for name, cls in list(globals().items()) if name.startswith("Border")}
