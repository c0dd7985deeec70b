"""Control by pictures and boxes: ControlNet, T2I-Adapter and GLIGEN, from people's own files."""
