"""Amazon's APIs, as moto plays them: `moto_app.py ADDRESS PORT`."""

import sys

import moto.route53.responses as answers
from moto.server import ThreadedMotoServer

# As Route 53 writes values. moto wraps them in CDATA, which the AWS SDK for Rust takes for nothing.
answers.LIST_RRSET_RESPONSE = answers.LIST_RRSET_RESPONSE.replace("<![CDATA[{{ resource }}]]>", "{{ resource|e }}")


def main():
    """Serves until killed."""
    server = ThreadedMotoServer(ip_address=sys.argv[1], port=int(sys.argv[2]), verbose=False)
    server.start()
    print("up", flush=True)
    server._thread.join()


if __name__ == "__main__":
    main()
