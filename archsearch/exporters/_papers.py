"""Papers that mixers and presets come from, by their arXiv identifier."""

from __future__ import annotations

from typing import Final, NamedTuple


class Paper(NamedTuple):
    """A paper.

    Attributes:
        key: Of its entry in a bibliography.
        authors: As BibTeX wants them; ``others`` where there are more than a dozen.
        title: With braces around what must keep its capitals.
        year: Of its first version.
    """

    key: str
    authors: str
    title: str
    year: int


TASK: Final = "2312.04927"
"""The one that the task is from."""

PAPERS: Final[dict[str, Paper]] = {
    "1706.03762": Paper(
        "vaswani2017attention",
        "Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and Uszkoreit, Jakob and Jones, Llion"
        " and Gomez, Aidan N. and Kaiser, Lukasz and Polosukhin, Illia",
        "Attention Is All You Need",
        2017,
    ),
    "1904.10509": Paper(
        "child2019sparse",
        "Child, Rewon and Gray, Scott and Radford, Alec and Sutskever, Ilya",
        "Generating Long Sequences with Sparse Transformers",
        2019,
    ),
    "2002.05202": Paper(
        "shazeer2020glu", "Shazeer, Noam", "{GLU} Variants Improve Transformer", 2020
    ),
    "2004.05150": Paper(
        "beltagy2020longformer",
        "Beltagy, Iz and Peters, Matthew E. and Cohan, Arman",
        "Longformer: The Long-Document Transformer",
        2020,
    ),
    "2007.14062": Paper(
        "zaheer2020bigbird",
        "Zaheer, Manzil and Guruganesh, Guru and Dubey, Avinava and Ainslie, Joshua and Alberti,"
        " Chris and Ontanon, Santiago and Pham, Philip and Ravula, Anirudh and Wang, Qifan and"
        " Yang, Li and Ahmed, Amr",
        "Big Bird: Transformers for Longer Sequences",
        2020,
    ),
    "2202.08791": Paper(
        "qin2022cosformer",
        "Qin, Zhen and Sun, Weixuan and Deng, Hui and Li, Dongxu and Wei, Yunshen and Lv, Baohong"
        " and Yan, Junjie and Kong, Lingpeng and Zhong, Yiran",
        "cos{Former}: Rethinking Softmax in Attention",
        2022,
    ),
    "2212.14052": Paper(
        "fu2022h3",
        "Fu, Daniel Y. and Dao, Tri and Saab, Khaled K. and Thomas, Armin W. and Rudra, Atri and"
        " R{\\'e}, Christopher",
        "Hungry Hungry Hippos: Towards Language Modeling with State Space Models",
        2022,
    ),
    "2302.10866": Paper(
        "poli2023hyena",
        "Poli, Michael and Massaroli, Stefano and Nguyen, Eric and Fu, Daniel Y. and Dao, Tri and"
        " Baccus, Stephen and Bengio, Yoshua and Ermon, Stefano and R{\\'e}, Christopher",
        "Hyena Hierarchy: Towards Larger Convolutional Language Models",
        2023,
    ),
    "2302.13971": Paper(
        "touvron2023llama",
        "Touvron, Hugo and Lavril, Thibaut and Izacard, Gautier and others",
        "{LLaMA}: Open and Efficient Foundation Language Models",
        2023,
    ),
    "2305.13048": Paper(
        "peng2023rwkv",
        "Peng, Bo and Alcaide, Eric and Anthony, Quentin and others",
        "{RWKV}: Reinventing {RNNs} for the Transformer Era",
        2023,
    ),
    "2305.16300": Paper(
        "mohtashami2023landmark",
        "Mohtashami, Amirkeivan and Jaggi, Martin",
        "Landmark Attention: Random-Access Infinite Context Length for Transformers",
        2023,
    ),
    "2307.08621": Paper(
        "sun2023retnet",
        "Sun, Yutao and Dong, Li and Huang, Shaohan and Ma, Shuming and Xia, Yuqing and Xue,"
        " Jilong and Wang, Jianyong and Wei, Furu",
        "Retentive Network: A Successor to {Transformer} for Large Language Models",
        2023,
    ),
    "2307.14995": Paper(
        "qin2023transnormerllm",
        "Qin, Zhen and Li, Dong and Sun, Weigao and others",
        "{TransNormerLLM}: A Faster and Better Large Language Model with Improved {TransNormer}",
        2023,
    ),
    "2312.00752": Paper(
        "gu2023mamba",
        "Gu, Albert and Dao, Tri",
        "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
        2023,
    ),
    TASK: Paper(
        "arora2023zoology",
        "Arora, Simran and Eyuboglu, Sabri and Timalsina, Aman and Johnson, Isys and Poli, Michael"
        " and Zou, James and Rudra, Atri and R{\\'e}, Christopher",
        "Zoology: Measuring and Improving Recall in Efficient Language Models",
        2023,
    ),
    "2312.06635": Paper(
        "yang2023gla",
        "Yang, Songlin and Wang, Bailin and Shen, Yikang and Panda, Rameswar and Kim, Yoon",
        "Gated Linear Attention Transformers with Hardware-Efficient Training",
        2023,
    ),
    "2402.18668": Paper(
        "arora2024based",
        "Arora, Simran and Eyuboglu, Sabri and Zhang, Michael and Timalsina, Aman and Alberti,"
        " Silas and Zinsley, Dylan and Zou, James and Rudra, Atri and R{\\'e}, Christopher",
        "Simple Linear Attention Language Models Balance the Recall-Throughput Tradeoff",
        2024,
    ),
    "2404.07904": Paper(
        "qin2024hgrn2",
        "Qin, Zhen and Yang, Songlin and Sun, Weixuan and Shen, Xuyang and Li, Dong and Sun,"
        " Weigao and Zhong, Yiran",
        "{HGRN2}: Gated Linear {RNNs} with State Expansion",
        2024,
    ),
    "2405.21060": Paper(
        "dao2024mamba2",
        "Dao, Tri and Gu, Albert",
        "Transformers are {SSMs}: Generalized Models and Efficient Algorithms Through Structured"
        " State Space Duality",
        2024,
    ),
    "2406.06484": Paper(
        "yang2024deltanet",
        "Yang, Songlin and Wang, Bailin and Zhang, Yu and Shen, Yikang and Kim, Yoon",
        "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
        2024,
    ),
    "2406.16690": Paper(
        "shen2024scaling",
        "Shen, Xuyang and Li, Dong and Leng, Ruitao and Qin, Zhen and Sun, Weigao and Zhong, Yiran",
        "Scaling Laws for Linear Complexity Language Models",
        2024,
    ),
    "2409.01482": Paper(
        "badger2024masked",
        "Badger, Benjamin L.",
        "Masked Mixers for Language Generation and Retrieval",
        2024,
    ),
    "2410.01651": Paper(
        "hu2024gca",
        "Hu, Xiang and Teng, Zhihao and Zhao, Jun and Wu, Wei and Tu, Kewei",
        "Efficient Length-Generalizable Attention via Causal Retrieval for Long-Context Language"
        " Modeling",
        2024,
    ),
    "2410.05258": Paper(
        "ye2024differential",
        "Ye, Tianzhu and Dong, Li and Xia, Yuqing and Sun, Yutao and Zhu, Yi and Huang, Gao and"
        " Wei, Furu",
        "Differential Transformer",
        2024,
    ),
    "2412.06464": Paper(
        "yang2024gateddeltanet",
        "Yang, Songlin and Kautz, Jan and Hatamizadeh, Ali",
        "Gated Delta Networks: Improving {Mamba2} with Delta Rule",
        2024,
    ),
    "2502.11089": Paper(
        "yuan2025nsa",
        "Yuan, Jingyang and Gao, Huazuo and Dai, Damai and others",
        "Native Sparse Attention: Hardware-Aligned and Natively Trainable Sparse Attention",
        2025,
    ),
}
