"""Requests that a service reads before it is ready are ones that it would read from anybody."""

from gnn_service.api.oip.codec import parse, write
from gnn_service.api.oip.rehearsal import answers_of_zeros, requests_of_zeros
from tests.support.oip import view


def test_every_rehearsed_request_can_be_read_and_answered():
    model = view()
    for body, length in requests_of_zeros(model):
        request = parse(body, length, model)
        assert request.batch == 1
        assert set(request.arrays) == set(model.inputs)
        written, header_length = write(model, request, answers_of_zeros(model))
        assert written
        assert (header_length is None) == (length is None)
