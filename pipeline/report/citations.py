"""What a paper cites, as BibTeX: each entry by what a run has used."""

from collections.abc import Mapping, Sequence

_ENTRIES = {
    "kronufft": """@software{kronufft,
  title = {Kronufft: batch reconstruction of non-Cartesian MRI and multi-static RF imaging data},
  author = {{The Kronufft developers}}, version = {%(kronufft)s}
}""",
    "ducc0": """@article{ducc0,
  author = {Arras, P. and Reinecke, M. and Westermann, R. and En{\\ss}lin, T. A.},
  title = {Efficient wide-field radio interferometry response},
  journal = {Astronomy \\& Astrophysics}, volume = {646}, pages = {A58}, year = {2021},
  doi = {10.1051/0004-6361/202039723}
}""",
    "finufft": """@article{finufft,
  author = {Barnett, A. H. and Magland, J. and af Klinteberg, L.},
  title = {A parallel nonuniform fast {Fourier} transform library based on an ``exponential of
    semicircle'' kernel},
  journal = {SIAM Journal on Scientific Computing}, volume = {41}, pages = {C479--C504},
  year = {2019}, doi = {10.1137/18M120885X}
}""",
    "cufinufft": """@inproceedings{cufinufft,
  author = {Shih, Y. and Wright, G. and And{\\'e}n, J. and Blaschke, J. and Barnett, A. H.},
  title = {{cuFINUFFT}: a load-balanced {GPU} library for general-purpose nonuniform {FFTs}},
  booktitle = {IEEE International Parallel and Distributed Processing Symposium Workshops},
  pages = {688--697}, year = {2021}, doi = {10.1109/IPDPSW52791.2021.00105}
}""",
    "triton": """@inproceedings{triton,
  author = {Tillet, P. and Kung, H. T. and Cox, D.},
  title = {{Triton}: an intermediate language and compiler for tiled neural network computations},
  booktitle = {3rd {ACM} {SIGPLAN} International Workshop on Machine Learning and Programming
    Languages},
  pages = {10--19}, year = {2019}, doi = {10.1145/3315508.3329973}
}""",
    "torchkbnufft": """@inproceedings{torchkbnufft,
  author = {Muckley, M. J. and Stern, R. and Murrell, T. and Knoll, F.},
  title = {{TorchKbNufft}: a high-level, hardware-agnostic non-uniform fast {Fourier} transform},
  booktitle = {ISMRM Workshop on Data Sampling and Image Reconstruction}, year = {2020}
}""",
    "girf": """@article{girf,
  author = {Vannesjo, S. J. and Haeberlin, M. and Kasper, L. and Pavan, M. and Wilm, B. J. and
    Barmet, C. and Pruessmann, K. P.},
  title = {Gradient system characterization by impulse response measurements with a dynamic field
    camera},
  journal = {Magnetic Resonance in Medicine}, volume = {69}, pages = {583--593}, year = {2013},
  doi = {10.1002/mrm.24263}
}""",
    "ring": """@article{ring,
  author = {Rosenzweig, S. and Holme, H. C. M. and Uecker, M.},
  title = {Simple auto-calibrated gradient delay estimation from few spokes using radial
    intersections ({RING})},
  journal = {Magnetic Resonance in Medicine}, volume = {81}, pages = {1898--1906}, year = {2019},
  doi = {10.1002/mrm.27506}
}""",
    "compression": """@article{compression,
  author = {Buehrer, M. and Pruessmann, K. P. and Boesiger, P. and Kozerke, S.},
  title = {Array compression for {MRI} with large coil arrays},
  journal = {Magnetic Resonance in Medicine}, volume = {57}, pages = {1131--1139}, year = {2007},
  doi = {10.1002/mrm.21237}
}""",
    "geometric": """@article{geometric,
  author = {Zhang, T. and Pauly, J. M. and Vasanawala, S. S. and Lustig, M.},
  title = {Coil compression for accelerated imaging with {Cartesian} sampling},
  journal = {Magnetic Resonance in Medicine}, volume = {69}, pages = {571--582}, year = {2013},
  doi = {10.1002/mrm.24267}
}""",
    "espirit": """@article{espirit,
  author = {Uecker, M. and Lai, P. and Murphy, M. J. and Virtue, P. and Elad, M. and
    Pauly, J. M. and Vasanawala, S. S. and Lustig, M.},
  title = {{ESPIRiT}: an eigenvalue approach to autocalibrating parallel {MRI}: where {SENSE} meets
    {GRAPPA}},
  journal = {Magnetic Resonance in Medicine}, volume = {71}, pages = {990--1001}, year = {2014},
  doi = {10.1002/mrm.24751}
}""",
    "walsh": """@article{walsh,
  author = {Walsh, D. O. and Gmitro, A. F. and Marcellin, M. W.},
  title = {Adaptive reconstruction of phased array {MR} imagery},
  journal = {Magnetic Resonance in Medicine}, volume = {43}, pages = {682--690}, year = {2000},
  doi = {10.1002/(SICI)1522-2594(200005)43:5<682::AID-MRM10>3.0.CO;2-G}
}""",
    "pipe-menon": """@article{pipe-menon,
  author = {Pipe, J. G. and Menon, P.},
  title = {Sampling density compensation in {MRI}: rationale and an iterative numerical solution},
  journal = {Magnetic Resonance in Medicine}, volume = {41}, pages = {179--186}, year = {1999},
  doi = {10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V}
}""",
    "cg-sense": """@article{cg-sense,
  author = {Pruessmann, K. P. and Weiger, M. and B{\\"o}rnert, P. and Boesiger, P.},
  title = {Advances in sensitivity encoding with arbitrary k-space trajectories},
  journal = {Magnetic Resonance in Medicine}, volume = {46}, pages = {638--651}, year = {2001},
  doi = {10.1002/mrm.1241}
}""",
    "toeplitz": """@article{toeplitz,
  author = {Fessler, J. A. and Lee, S. and Olafsson, V. T. and Shi, H. R. and Noll, D. C.},
  title = {Toeplitz-based iterative image reconstruction for {MRI} with correction for magnetic
    field inhomogeneity},
  journal = {IEEE Transactions on Signal Processing}, volume = {53}, pages = {3393--3402},
  year = {2005}, doi = {10.1109/TSP.2005.853152}
}""",
    "fista": """@article{fista,
  author = {Beck, A. and Teboulle, M.},
  title = {A fast iterative shrinkage-thresholding algorithm for linear inverse problems},
  journal = {SIAM Journal on Imaging Sciences}, volume = {2}, pages = {183--202}, year = {2009},
  doi = {10.1137/080716542}
}""",
    "optimized-gradients": """@article{optimized-gradients,
  author = {Kim, D. and Fessler, J. A.},
  title = {Adaptive restart of the optimized gradient method for convex optimization},
  journal = {Journal of Optimization Theory and Applications}, volume = {178}, pages = {240--263},
  year = {2018}, doi = {10.1007/s10957-018-1287-4}
}""",
    "admm": """@article{admm,
  author = {Boyd, S. and Parikh, N. and Chu, E. and Peleato, B. and Eckstein, J.},
  title = {Distributed optimization and statistical learning via the alternating direction method
    of multipliers},
  journal = {Foundations and Trends in Machine Learning}, volume = {3}, pages = {1--122},
  year = {2011}, doi = {10.1561/2200000016}
}""",
    "primal-dual": """@article{primal-dual,
  author = {Chen, P. and Huang, J. and Zhang, X.},
  title = {A primal-dual fixed point algorithm for convex separable minimization with applications
    to image restoration},
  journal = {Inverse Problems}, volume = {29}, pages = {025011}, year = {2013},
  doi = {10.1088/0266-5611/29/2/025011}
}""",
    "omp": """@inproceedings{omp,
  author = {Pati, Y. C. and Rezaiifar, R. and Krishnaprasad, P. S.},
  title = {Orthogonal matching pursuit: recursive function approximation with applications to
    wavelet decomposition},
  booktitle = {27th Asilomar Conference on Signals, Systems and Computers}, pages = {40--44},
  year = {1993}, doi = {10.1109/ACSSC.1993.342465}
}""",
    "unrolled": """@inproceedings{unrolled,
  author = {Mardani, M. and Sun, Q. and Donoho, D. and Papyan, V. and Monajemi, H. and
    Vasanawala, S. and Pauly, J.},
  title = {Neural proximal gradient descent for compressive imaging},
  booktitle = {Advances in Neural Information Processing Systems}, volume = {31},
  pages = {9573--9583}, year = {2018}
}""",
    "tv": """@article{tv,
  author = {Rudin, L. I. and Osher, S. and Fatemi, E.},
  title = {Nonlinear total variation based noise removal algorithms},
  journal = {Physica D}, volume = {60}, pages = {259--268}, year = {1992},
  doi = {10.1016/0167-2789(92)90242-F}
}""",
    "tgv": """@article{tgv,
  author = {Knoll, F. and Bredies, K. and Pock, T. and Stollberger, R.},
  title = {Second order total generalized variation ({TGV}) for {MRI}},
  journal = {Magnetic Resonance in Medicine}, volume = {65}, pages = {480--491}, year = {2011},
  doi = {10.1002/mrm.22595}
}""",
    "wavelet": """@article{wavelet,
  author = {Guerquin-Kern, M. and H{\\"a}berlin, M. and Pruessmann, K. P. and Unser, M.},
  title = {A fast wavelet-based reconstruction method for magnetic resonance imaging},
  journal = {IEEE Transactions on Medical Imaging}, volume = {30}, pages = {1649--1660},
  year = {2011}, doi = {10.1109/TMI.2011.2140121}
}""",
    "llr": """@article{llr,
  author = {Zhang, T. and Pauly, J. M. and Levesque, I. R.},
  title = {Accelerating parameter mapping with a locally low rank constraint},
  journal = {Magnetic Resonance in Medicine}, volume = {73}, pages = {655--661}, year = {2015},
  doi = {10.1002/mrm.25161}
}""",
}


def known(key: str) -> bool:
    """Whether there is an entry to cite."""
    return key in _ENTRIES


def bibtex(keys: Sequence[str], versions: Mapping[str, str]) -> str:
    """Return the entries of these keys, each once, in their order."""
    found = [_ENTRIES[key] for key in dict.fromkeys(keys)]
    return "\n\n".join(one.replace("%(kronufft)s", versions.get("kronufft", "")) for one in found)
