"""The strategy ``merge``: one small pure function a method."""
